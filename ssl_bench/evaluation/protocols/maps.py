"""Plots of the features: PCA and t-SNE or UMAP (McInnes et al. 2018, arXiv 1802.03426), clusters, neighbours."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Annotated

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ssl_bench.data.types import Target
from ssl_bench.distributed import share_out
from ssl_bench.errors import UserError
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.features import Features, FeatureSplit
from ssl_bench.evaluation.points import Points, unit_vectors
from ssl_bench.evaluation.rows import Rows
from ssl_bench.evaluation.thumbnails import fetch_thumbnails
from ssl_bench.plots import primitives
from ssl_bench.plots.projection import Projection, project
from ssl_bench.ranges import Interval, check_ranges

QUERIES, NEAREST, VOTERS = 8, 8, 20
CHUNK = 1024
"""Number of bank rows that are compared with all queries at a time."""


@check_ranges
@dataclass(frozen=True)
class Maps:
    """Plots of the features as PNG files under ``figures/`` of the run folder; no metrics.

    - ``map.png``: the first two principal components beside t-SNE (van der Maaten & Hinton 2008; needs openTSNE) or
      UMAP (McInnes et al. 2018, arXiv 1802.03426).
    - ``confusion.png``: spherical k-means clusters of the test features, matched one to one with the classes.
    - ``classes.png``: accuracy of each class, predicted by a vote of the 20 nearest training images by cosine
      similarity.
    - ``neighbours.png``: test images of different classes with their nearest training images.

    All plots use the target with the most classes and, if the test split is larger than `images`, a random subset.

    Args:
        method: projection beside PCA, ``tsne`` or ``umap`` (needs umap-learn); ``pca`` for PCA alone.
        images: maximum number of test images in a plot.
        seed: random seed of the subset, t-SNE, UMAP and k-means.
    """

    method: Projection = "tsne"
    images: Annotated[int, Interval(2)] = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method == "umap" and find_spec("umap") is None:
            raise UserError("maps: method umap needs umap-learn; `pip install umap-learn`, or give tsne or pca")

    def runs_by_default(self, encoder: EvaluatedEncoder) -> bool:
        """Whether features have two or more dimensions."""
        return encoder.features.test.features.shape[1] >= 2

    def __call__(self, encoder: EvaluatedEncoder) -> dict[str, float]:
        """Write the plots in the first process; the other processes send the images that it needs.

        Returns:
            An empty dict.

        Raises:
            UserError: features have one dimension, or a plot could not be written.
        """
        if encoder.features.test.features.shape[1] < 2:
            raise UserError("maps: features of 1 dimension; a plot needs 2 or more")
        (grid,) = share_out([lambda: self.neighbours(encoder)])
        images = (
            fetch_thumbnails(encoder, "test", grid[:, 0]),
            fetch_thumbnails(encoder, "train", grid[:, 1:].flatten()),
        )
        (problem,) = share_out([lambda: self.plot(encoder, grid, *images)])
        if problem:
            raise UserError(f"maps: {problem}")
        return {}

    def rows(self, features: Features) -> Tensor:
        """Rows of the test split that are plotted, in random order."""
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randperm(len(features.test.labels), generator=generator)[: self.images]

    def neighbours(self, encoder: EvaluatedEncoder) -> Tensor:
        """Test rows of as many classes as possible, each with its k nearest training rows: ``(Q, 1 + k)``."""
        rows, (_, _, labels) = self.rows(encoder.features), plotted_target(encoder.features)
        one_hot = F.one_hot(labels[rows] + 1)
        which = one_hot.cumsum(0).gather(1, labels[rows].unsqueeze(1) + 1).squeeze(1)  # first, second, ... of its class
        which[labels[rows] < 0] += len(rows)
        queries = rows[which.argsort(stable=True)[:QUERIES]]
        queries = queries[labels[queries].argsort(stable=True)]
        x = Rows.of(encoder.features.test, encoder.device).exact().take(queries)
        near = nearest_by_cosine(x, encoder.features.train, NEAREST, encoder.device)
        return torch.cat([queries.unsqueeze(1), near], 1)

    def plot(self, encoder: EvaluatedEncoder, grid: Tensor, queries: dict[int, Tensor], near: dict[int, Tensor]) -> str:
        """Write all plots that the data allow.

        Args:
            encoder: the encoder under evaluation.
            grid: test rows and their nearest training rows, as returned by `neighbours`.
            queries: images of the test rows, by row; empty if there are no images.
            near: images of the training rows, by row.

        Returns:
            The reason of the first failure in one line; empty if all plots were written.
        """
        target, train_labels, labels = plotted_target(encoder.features)
        rows = self.rows(encoder.features)
        x, y = Rows.of(encoder.features.test, torch.device("cpu")).exact().take(rows), labels[rows]
        every = len(rows) == len(labels)
        of = f"{len(rows):,} {'' if every else f'of {len(labels):,} '}test images"
        figures: dict[str, Callable[[], Figure]] = {
            "map": lambda: primitives.scatter(
                project(x, self.method, self.seed), y, target.classes, f"{of} by {target.name}"
            )
        }
        labelled, classes = x[y >= 0], y[y >= 0]
        if len(classes.unique()) >= 2:
            figures["confusion"] = lambda: self.confusion(labelled, classes, target)
            figures["classes"] = lambda: _class_accuracies(labelled, classes, encoder, train_labels, target)
        if queries:
            images = [[queries[row], *(near[i] for i in others)] for row, *others in grid.tolist()]
            grid_labels = torch.cat([labels[grid[:, :1]], train_labels[grid[:, 1:]]], 1)
            title = f"test images and their nearest training images by cosine similarity, by {target.name}"
            figures["neighbours"] = lambda: primitives.neighbour_grid(images, grid_labels, target.classes, title)
        folder = encoder.folder / "figures"
        for name, figure in figures.items():
            try:
                folder.mkdir(parents=True, exist_ok=True)
                primitives.save(figure(), folder / f"{name}.png")
            except (OSError, RuntimeError, ValueError) as error:
                return f"cannot plot {name}.png: {' '.join(str(error).split())}"
        return ""

    def confusion(self, x: Tensor, y: Tensor, target: Target) -> Figure:
        """Plot classes against k-means clusters of the features; there are as many clusters as classes that occur."""
        from sklearn.cluster import KMeans

        occurring, y = y.unique(return_inverse=True)
        count = len(occurring)
        means = KMeans(count, n_init=5, random_state=self.seed).fit(unit_vectors(x).numpy())
        pairs = y * count + torch.from_numpy(means.labels_).long()
        counts = torch.bincount(pairs, minlength=count**2).reshape(count, count)
        matched = counts[:, torch.from_numpy(linear_sum_assignment(counts.numpy(), maximize=True)[1])]
        accuracy = 100 * matched.trace().item() / len(y)
        names = [target.classes[label] for label in occurring.tolist()]
        return primitives.confusion(matched, names, f"K-means clusters, {accuracy:.1f} % matched")


def plotted_target(features: Features) -> tuple[Target, Tensor, Tensor]:
    """The first target with the most classes, and its labels ``(N,)`` in train and in test."""
    column = max(range(len(features.targets)), key=lambda i: len(features.targets[i].classes))
    train, test = (part.labels.reshape(len(part.labels), -1)[:, column] for part in (features.train, features.test))
    return features.targets[column], train, test


def nearest_by_cosine(queries: Tensor, bank: FeatureSplit, k: int, device: torch.device) -> Tensor:
    """Rows of the bank with the highest cosine similarity to each query, computed in this process alone.

    Args:
        queries: features ``(n, d)``.
        bank: split with features ``(N, d)``.
        k: number of neighbours; fewer are returned if the bank is smaller.
        device: device of the computation.

    Returns:
        Row indices, int64 ``(n, k)``, on the CPU, nearest first.
    """
    every = Rows.of(bank, device).exact()
    points = Points.of((every,), spherical=True)
    q = points(queries.to(device), torch.float32)
    best = torch.empty(len(q), 0, device=device)
    index = torch.empty(len(q), 0, dtype=torch.int64, device=device)
    for start in range(0, len(every), CHUNK):
        x = points(every.take(slice(start, start + CHUNK)), torch.float32)
        similarity = torch.addmm(x.square().sum(1) / -2, q, x.T)
        rows = torch.arange(start, start + similarity.shape[1], device=device).expand(len(q), -1)
        both, rows = torch.cat([best, similarity], 1), torch.cat([index, rows], 1)
        best, chosen = both.topk(min(k, both.shape[1]))
        index = rows.gather(1, chosen)
    return index.cpu()


def _class_accuracies(x: Tensor, y: Tensor, encoder: EvaluatedEncoder, train_labels: Tensor, target: Target) -> Figure:
    votes = train_labels[nearest_by_cosine(x, encoder.features.train, VOTERS, encoder.device)]
    ballots = torch.zeros(len(x), len(target.classes) + 1).scatter_add_(1, votes + 1, torch.ones(votes.shape))
    right = (ballots[:, 1:].argmax(1) == y).double()  # column 0: neighbours without a label, which do not vote
    occurring = y.unique()
    accuracy = torch.stack([100 * right[y == label].mean() for label in occurring])
    names = [target.classes[label] for label in occurring.tolist()]
    title = f"accuracy by {target.name}, vote of the {votes.shape[1]} nearest training images"
    return primitives.bars(accuracy, names, 100 * right.mean().item(), title)
