"""Pictures: t-SNE (van der Maaten 2008) or UMAP (McInnes 2018, arXiv 1802.03426), clusters, neighbours, classes."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ssl_bench.data.types import Split, Target
from ssl_bench.distributed import share_out, world_size
from ssl_bench.errors import UserError
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.features import Features, FeatureSplit
from ssl_bench.plots import primitives
from ssl_bench.plots.projection import Projection, project

"""Principal components that t-SNE and UMAP start from: less noise, less time."""
QUERIES, NEAREST, VOTERS = 8, 8, 20
CHUNK = 1024
"""Rows of the bank that all queries are compared with at a time."""
WIDEST = 96
"""Pixels that an image on a sheet has at most."""


@dataclass(frozen=True)
class Maps:
    """Draws, and scores nothing. Pictures are PNG files under ``figures/`` of the run folder.

    ``map.png``: the plane of the first two principal components, and t-SNE (where openTSNE is installed) or UMAP.
    ``confusion.png``: K-means clusters of the test features on the sphere, matched one to one with the classes.
    ``classes.png``: for each class, the accuracy of a vote of the 20 nearest training images by cosine.
    ``neighbours.png``: test images of as many classes as there are, with the nearest training images.

    All are of the target with the most classes, and of a random part of the test split where that is large.

    Args:
        method: the map beside PCA: tsne, umap (needs umap-learn) or pca for none.
        images: test images in a picture, at most.
        seed: of which images they are, and of t-SNE, UMAP and K-means.
    """

    method: Projection = "tsne"
    images: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.images < 2:
            raise UserError(f"maps: images = {self.images}; give 2 or more")
        if self.method == "umap" and find_spec("umap") is None:
            raise UserError(
                "maps: method = umap, which is not installed; `pip install umap-learn`, or give tsne or pca"
            )

    def applies(self, encoder: EvaluatedEncoder) -> bool:
        """Whether features have a plane to be shown in."""
        return encoder.features.test.features.shape[1] >= 2

    def __call__(self, encoder: EvaluatedEncoder) -> dict[str, float]:
        """Draw. The first process does it; the others lend it the images that it asks for.

        Returns:
            No figures.

        Raises:
            UserError: features have one dimension, or a picture could not be drawn.
        """
        if not self.applies(encoder):
            raise UserError("maps: features of 1 dimension; a picture needs 2 or more")
        (sheet,) = share_out([lambda: self.neighbours(encoder)])
        pictures = fetch(encoder, "test", sheet[:, 0]), fetch(encoder, "train", sheet[:, 1:].flatten())
        (problem,) = share_out([lambda: self.draw(encoder, sheet, *pictures)])
        if problem:
            raise UserError(f"maps: {problem}")
        return {}

    def rows(self, features: Features) -> Tensor:
        """Rows of the test split that are shown, in random order."""
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randperm(len(features.test.features), generator=generator)[: self.images]

    def neighbours(self, encoder: EvaluatedEncoder) -> Tensor:
        """Test rows of different classes as far as there are, each before its nearest training rows: ``(Q, 1 + k)``."""
        rows, (_, _, labels) = self.rows(encoder.features), shown(encoder.features)
        one_hot = F.one_hot(labels[rows] + 1)
        which = one_hot.cumsum(0).gather(1, labels[rows].unsqueeze(1) + 1).squeeze(1)  # first, second, ... of its class
        which[labels[rows] < 0] += len(rows)
        queries = rows[which.argsort(stable=True)[:QUERIES]]
        queries = queries[labels[queries].argsort(stable=True)]
        near = nearest_images(encoder.features.test.features[queries], encoder.features.train, NEAREST, encoder.device)
        return torch.cat([queries.unsqueeze(1), near], 1)

    def draw(
        self, encoder: EvaluatedEncoder, sheet: Tensor, queries: dict[int, Tensor], near: dict[int, Tensor]
    ) -> str:
        """Draw everything that there is something to show for.

        Args:
            encoder: what is drawn.
            sheet: test rows and their nearest training rows, as `neighbours` gives them.
            queries: images of the test rows, by row; none where there are no images.
            near: images of the training rows, likewise.

        Returns:
            One line on what went wrong, empty if nothing did.
        """
        target, train_labels, labels = shown(encoder.features)
        rows = self.rows(encoder.features)
        x, y = encoder.features.test.features[rows], labels[rows]
        every = len(rows) == len(labels)
        of = f"{len(rows):,} {'' if every else f'of {len(labels):,} '}test images"
        figures: dict[str, Callable[[], Figure]] = {
            "map": lambda: primitives.scatter(
                project(x, self.method, self.seed), y, target.classes, f"{of} by {target.name}"
            )
        }
        named, names = x[y >= 0], y[y >= 0]
        if len(names.unique()) >= 2:
            figures["confusion"] = lambda: self.confusion(named, names, target)
            figures["classes"] = lambda: _class_accuracies(named, names, encoder, train_labels, target)
        if queries:
            images = [[queries[row], *(near[i] for i in others)] for row, *others in sheet.tolist()]
            shades = torch.cat([labels[sheet[:, :1]], train_labels[sheet[:, 1:]]], 1)
            title = f"test images and the training images nearest by cosine, by {target.name}"
            figures["neighbours"] = lambda: primitives.neighbour_grid(images, shades, target.classes, title)
        folder = encoder.folder / "figures"
        for name, figure in figures.items():
            try:
                folder.mkdir(parents=True, exist_ok=True)
                primitives.save(figure(), folder / f"{name}.png")
            except (OSError, RuntimeError, ValueError) as error:
                return f"cannot draw {name}.png: {' '.join(str(error).split())}"
        return ""

    def confusion(self, x: Tensor, y: Tensor, target: Target) -> Figure:
        """K-means clusters of features, K the number of classes that occur, against those classes."""
        from sklearn.cluster import KMeans

        occurring, y = y.unique(return_inverse=True)
        count = len(occurring)
        means = KMeans(count, n_init=5, random_state=self.seed).fit(F.normalize(x).numpy())
        pairs = y * count + torch.from_numpy(means.labels_).long()
        counts = torch.bincount(pairs, minlength=count**2).reshape(count, count)
        matched = counts[:, torch.from_numpy(linear_sum_assignment(counts.numpy(), maximize=True)[1])]
        accuracy = 100 * matched.trace().item() / len(y)
        names = [target.classes[label] for label in occurring.tolist()]
        return primitives.confusion(matched, names, f"K-means clusters, {accuracy:.1f} % matched")


def shown(features: Features) -> tuple[Target, Tensor, Tensor]:
    """The first target of those with the most classes, and its labels ``(N,)`` in train and in test."""
    column = max(range(len(features.targets)), key=lambda i: len(features.targets[i].classes))
    train, test = (part.labels.reshape(len(part.labels), -1)[:, column] for part in (features.train, features.test))
    return features.targets[column], train, test


def nearest_images(queries: Tensor, bank: FeatureSplit, k: int, device: torch.device) -> Tensor:
    """Exact nearest rows of the bank by cosine: int64 ``(n, k)`` on the CPU, fewer if the bank is smaller than k."""
    unit = F.normalize(queries.to(device))
    best = torch.empty(len(unit), 0, device=device)
    index = torch.empty(len(unit), 0, dtype=torch.int64, device=device)
    for start in range(0, len(bank.features), CHUNK):
        similar = unit @ F.normalize(bank.features[start : start + CHUNK].to(device)).T
        rows = torch.arange(start, start + similar.shape[1], device=device).expand(len(unit), -1)
        both, rows = torch.cat([best, similar], 1), torch.cat([index, rows], 1)
        best, chosen = both.topk(min(k, both.shape[1]))
        index = rows.gather(1, chosen)
    return index.cpu()


def _class_accuracies(x: Tensor, y: Tensor, encoder: EvaluatedEncoder, train_labels: Tensor, target: Target) -> Figure:
    votes = train_labels[nearest_images(x, encoder.features.train, VOTERS, encoder.device)]
    ballots = torch.zeros(len(x), len(target.classes) + 1).scatter_add_(1, votes + 1, torch.ones(votes.shape))
    right = (ballots[:, 1:].argmax(1) == y).double()  # what has no label has no say
    occurring = y.unique()
    accuracy = torch.stack([100 * right[y == label].mean() for label in occurring])
    names = [target.classes[label] for label in occurring.tolist()]
    title = f"{VOTERS} nearest training images, by {target.name}"
    return primitives.bars(accuracy, names, 100 * right.mean().item(), title)


def fetch(encoder: EvaluatedEncoder, split: Split, ids: Tensor) -> dict[int, Tensor]:
    """Images by id, on the CPU and small, in every process; none where there are none, or points in their place."""
    found: dict[int, Tensor] = {}
    wanted = set(ids.tolist())
    last = max(wanted, default=-1)
    for batch in encoder.images(split) if encoder.images is not None else ():
        if batch.images.ndim != 4 or int(batch.ids[0]) > last:
            break
        for row, i in enumerate(batch.ids.tolist()):
            if i in wanted:
                found[i] = small(batch.images[row : row + 1])[0]
    parts = share_out([lambda: found] * world_size())
    return {i: image for part in parts for i, image in part.items()}


def small(images: Tensor) -> Tensor:
    """Images ``(n, C, H, W)`` for a sheet: on the CPU, and shrunk where they are large."""
    large = max(images.shape[2:]) > WIDEST
    return (F.interpolate(images.float(), size=(WIDEST, WIDEST), mode="area") if large else images.float()).cpu()
