"""Plots of the features: PCA and t-SNE or UMAP (McInnes et al. 2018, arXiv 1802.03426), clusters, neighbours."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Annotated

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ssl_bench.distributed import share_out
from ssl_bench.errors import UserError
from ssl_bench.evaluation.class_figures import class_accuracies, confusion, plotted_target, write_map
from ssl_bench.evaluation.cosine_neighbours import nearest_by_cosine
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.features import Features
from ssl_bench.evaluation.protocols.kmeans import KMeans
from ssl_bench.evaluation.protocols.knn import KNN
from ssl_bench.evaluation.rows import Rows
from ssl_bench.evaluation.task_groups import TaskGroup, task_groups
from ssl_bench.evaluation.thumbnails import fetch_thumbnails
from ssl_bench.plots import primitives
from ssl_bench.plots.projection import Projection, project
from ssl_bench.ranges import Interval, check_ranges

QUERIES, MOST_CLASSES, NEAREST = 8, 12, 8
"""Usual number of rows of the plot of neighbours, most classes in it, and the number of neighbours."""
VOTERS = 5
"""Neighbours that vote for the accuracy of each class, if the kNN protocol has this k: `knn_5` is a usual score."""


@check_ranges
@dataclass(frozen=True)
class Maps:
    """Plots of the features as PNG files under ``figures/`` of the run folder; no metrics.

    - ``map.png``: the first two principal components beside t-SNE (van der Maaten & Hinton 2008) or UMAP (McInnes et
      al. 2018, arXiv 1802.03426). ``map.json`` has the coordinates, with the rows of the test images and their labels.
    - ``confusion.png``: clusters of the k-means protocol, of the restart with the lowest inertia, matched one to one
      with the classes.
    - ``classes.png``: accuracy of each class by the kNN protocol, with k = 5 or else its first k.
    - ``neighbours.png``: the same number of test images of each class, with their nearest training images by cosine
      similarity.

    All plots use the target with the most classes. The map has at most `images` test images, in random order.

    Args:
        method: projection beside PCA, ``tsne`` or ``umap`` (needs umap-learn); ``pca`` for PCA alone.
        images: maximum number of test images in the map.
        seed: random seed of the subset, t-SNE and UMAP.
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

    def __call__(
        self,
        encoder: EvaluatedEncoder,
        groups: Sequence[TaskGroup] = (),
        kmeans: KMeans | None = None,
        knn: KNN | None = None,
    ) -> dict[str, float]:
        """Write the plots in the first process; the other processes send the images that it needs.

        Args:
            encoder: the encoder under evaluation.
            groups: tasks of the encoder, whose cached clusters and neighbours are used; empty to make them.
            kmeans: the k-means protocol whose clusters are plotted; None for the default.
            knn: the kNN protocol whose accuracies are plotted; None for the default.

        Returns:
            An empty dict.

        Raises:
            UserError: features have one dimension, or a plot could not be written.
        """
        if encoder.features.test.features.shape[1] < 2:
            raise UserError("maps: features of 1 dimension; a plot needs 2 or more")
        figures = self.figures_of_classes(groups or task_groups(encoder)[0], encoder, kmeans or KMeans(), knn or KNN())
        (grid,) = share_out([lambda: self.neighbours(encoder)])
        images = (
            fetch_thumbnails(encoder, "test", grid[:, 0]),
            fetch_thumbnails(encoder, "train", grid[:, 1:].flatten()),
        )
        (problem,) = share_out([lambda: self.plot(encoder, figures, grid, *images)])
        if problem:
            raise UserError(f"maps: {problem}")
        return {}

    def figures_of_classes(
        self, groups: Sequence[TaskGroup], encoder: EvaluatedEncoder, kmeans: KMeans, knn: KNN
    ) -> dict[str, Callable[[], Figure]]:
        """Functions that plot clusters and accuracies of classes; empty if the target has no scores."""
        target = plotted_target(encoder.features)[0]
        group = next((group for group in groups if target in group.targets), None)
        if group is None:
            return {}
        task, column = group.task, group.targets.index(target)
        figures: dict[str, Callable[[], Figure]] = {}
        try:
            spherical = "spherical" in kmeans.distances
            found = kmeans.clusterings(task, spherical)
            counts = kmeans.counts(task, found)[column, found.best].cpu()
            title = f"k-means, restart {found.best + 1} of {kmeans.restarts} (lowest inertia)"
            metric = f"kmeans{'' if spherical else '_euclidean'}_best/accuracy"
            figures["confusion"] = lambda: confusion(counts, target, title, metric)
        except UserError:  # the protocol fails with this error, too
            pass
        bank = sum(map(len, task.fitting))
        if sizes := [k for k in knn.k if k <= bank]:
            k = VOTERS if VOTERS in sizes else sizes[0]
            distance, neighbours = next(iter(knn.neighbours(task).items()))
            weights = knn.weights[0] if distance == "cosine" else "uniform"
            right = (knn.predict(neighbours, k, weights, task) == task.test.y)[:, column].double().cpu()
            y = task.test.y[:, column].cpu()
            name = f"kNN, k = {k}, {distance}, by {target.name}"
            figures["classes"] = lambda: class_accuracies(right, y, target, name)
        return figures

    def rows(self, features: Features) -> Tensor:
        """Rows of the test split in the map, in random order."""
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randperm(len(features.test.labels), generator=generator)[: self.images]

    def neighbours(self, encoder: EvaluatedEncoder) -> Tensor:
        """The same number of test rows of each class, each with its nearest training rows: ``(Q, 1 + k)``.

        Rows are in the order of their classes. If there are more than `MOST_CLASSES`, evenly spaced ones are shown.
        """
        _, _, labels = plotted_target(encoder.features)
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(len(labels), generator=generator)
        members = [order[labels[order] == label] for label in labels[labels >= 0].unique()] or [order]
        shown = torch.linspace(0, len(members) - 1, min(len(members), MOST_CLASSES)).round().long().unique().tolist()
        each = max(1, QUERIES // len(shown))
        queries = torch.cat([members[place][:each] for place in shown])
        x = Rows.of(encoder.features.test, encoder.device).exact().take(queries)
        near = nearest_by_cosine(x, encoder.features.train, NEAREST, encoder.device)
        return torch.cat([queries.unsqueeze(1), near], 1)

    def plot(
        self,
        encoder: EvaluatedEncoder,
        figures: dict[str, Callable[[], Figure]],
        grid: Tensor,
        queries: dict[int, Tensor],
        near: dict[int, Tensor],
    ) -> str:
        """Write all plots that the data allow.

        Args:
            encoder: the encoder under evaluation.
            figures: functions that plot the other figures, by name.
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

        projections: dict[str, Tensor] = {}

        def plot_map() -> Figure:
            projections.update(project(x, self.method, self.seed))
            return primitives.scatter(projections, y, target.classes, f"{of} by {target.name}")

        figures = {"map": plot_map, **figures}
        if queries:
            images = [[queries[row], *(near[i] for i in others)] for row, *others in grid.tolist()]
            grid_labels = torch.cat([labels[grid[:, :1]], train_labels[grid[:, 1:]]], 1)
            title = f"test images and their nearest training images by cosine similarity, by {target.name}"
            figures["neighbours"] = lambda: primitives.neighbour_grid(images, grid_labels, target.classes, title)
        folder = encoder.folder / "figures"
        for name, figure in figures.items():
            try:
                folder.mkdir(parents=True, exist_ok=True)
                primitives.save(figure(), folder / f"{name}.png", encoder.title)
            except (OSError, RuntimeError, ValueError) as error:
                return f"cannot plot {name}.png: {' '.join(str(error).split())}"
        write_map(encoder.folder, rows, y, target, projections)
        return ""
