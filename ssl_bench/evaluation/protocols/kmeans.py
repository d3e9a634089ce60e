"""K-means clusters of the test features, matched with classes (Zhang & Maire 2023, arXiv 2310.00357)."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ssl_bench.distributed import all_reduce_sum, gather_rows
from ssl_bench.errors import UserError
from ssl_bench.evaluation.clustering_metrics import clustering_metrics, count_pairs
from ssl_bench.evaluation.lloyd import assign_clusters, kmeans_plus_plus, lloyd
from ssl_bench.evaluation.points import PRECISE, Points
from ssl_bench.evaluation.rows import Rows
from ssl_bench.evaluation.task import Task
from ssl_bench.ranges import NonNegativeFloat, PositiveInt, check_ranges


class Clusterings(NamedTuple):
    """Clusterings of the test images, without labels.

    Attributes:
        clusters: cluster of each test image in each of R restarts, int ``(N, R)``, the same in every process.
        inertia: sum of squared distances to the centres of each restart ``(R,)``.
    """

    clusters: Tensor
    inertia: Tensor

    @property
    def best(self) -> int:
        """The restart with the lowest inertia."""
        return int(self.inertia.argmin())


@check_ranges
@dataclass(frozen=True)
class KMeans:
    """K-means on the test features without labels, with as many clusters as classes.

    The clusters are fitted on the test split itself, as in the structural GAN paper ("mean over 20 runs"). For each
    metric of :func:`~ssl_bench.evaluation.clustering_metrics.clustering_metrics`, three values are reported: the mean
    over restarts, the standard deviation over restarts, and the value of the restart with the lowest inertia, which can
    be chosen without labels.

    Spherical k-means (Dhillon & Modha 2001) scales features and centres to length 1. A feature of length 0 is an error.
    Euclidean k-means uses the features as they are. Products are in float32, or in float64 if the clusters are too far
    apart for float32.

    Args:
        distances: one or both of ``spherical`` (``kmeans/...``) and ``euclidean`` (``kmeans_euclidean/...``).
        restarts: number of clusterings, each with its own k-means++ seeding.
        max_iter: maximum number of Lloyd iterations.
        tol: a restart stops when the squared movements of its centres sum to at most this multiple of the mean variance
            within clusters.
        seed: random seed of k-means++.
    """

    distances: tuple[Literal["spherical", "euclidean"], ...] = ("spherical",)
    restarts: PositiveInt = 20
    max_iter: PositiveInt = 300
    tol: NonNegativeFloat = 1e-4
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.distances:
            raise UserError("kmeans: distances must be one or both of 'spherical', 'euclidean', got none")

    def __call__(self, task: Task) -> list[dict[str, float]]:
        """``kmeans/<metric>``, ``kmeans_sd/<metric>`` and ``kmeans_best/<metric>`` in percent, for each target.

        Metrics are accuracy, nmi, ari and purity. Metric names of the Euclidean distance begin with
        ``kmeans_euclidean``. ``kmeans_best/inertia`` is the sum of squared distances to the centres; in the spherical
        case the squared distance is ``2 (1 - cosine)``.

        Raises:
            UserError: there are fewer (distinct) test images than classes, or a feature has length 0.
        """
        if len(task.test) < task.num_classes:
            raise UserError(f"kmeans: {len(task.test)} test images for {task.num_classes} clusters; give more images")
        result: list[dict[str, float]] = [{} for _ in range(task.num_targets)]
        for distance in self.distances:
            name = "kmeans" if distance == "spherical" else f"kmeans_{distance}"
            for metrics, found in zip(result, self._score(task, name, distance == "spherical"), strict=True):
                metrics |= found
        return result

    def _score(self, task: Task, name: str, spherical: bool) -> list[dict[str, float]]:
        found = self.clusterings(task, spherical)
        best = found.best
        scores = clustering_metrics(self.counts(task, found))
        return [
            {f"{name}/{metric}": value[t].mean().item() for metric, value in scores.items()}
            | {
                f"{name}_sd/{metric}": value[t].std(correction=min(1, self.restarts - 1)).item()
                for metric, value in scores.items()
            }
            | {f"{name}_best/{metric}": value[t, best].item() for metric, value in scores.items()}
            | {f"{name}_best/inertia": found.inertia[best].item()}
            for t in range(task.num_targets)
        ]

    def clusterings(self, task: Task, spherical: bool = True) -> Clusterings:
        """Clusterings of the test images into as many clusters as classes, computed once for all protocols.

        Raises:
            UserError: see `__call__`.
        """
        return task.once(f"kmeans {self} {spherical} {task.num_classes}", lambda: self._clusterings(task, spherical))

    def counts(self, task: Task, found: Clusterings) -> Tensor:
        """Number of test images of each cluster and class, ``(T, R, K, C)`` for T targets and R restarts."""
        k = task.num_classes
        table = task.test.y.new_zeros(task.num_targets, found.clusters.shape[1], k, k)
        for part in task.test.local_slices():
            count_pairs(table, found.clusters[part].long(), task.test.y[part])
        return all_reduce_sum(table)

    def _clusterings(self, task: Task, spherical: bool) -> Clusterings:
        rows = task.test.exact()
        if spherical:
            _check_lengths(rows)
        points = Points.of((rows,), spherical=spherical)
        try:
            found, squares = self._cluster(task, rows, points, torch.float32)
            precise = bool(found.inertia.min() >= PRECISE * squares)
        except UserError:  # too few points differ in float32
            precise = False
        if not precise:
            try:
                found, _ = self._cluster(task, rows, points, torch.float64)
            except UserError as error:
                raise UserError(f"kmeans: {error}") from error
        return found._replace(inertia=found.inertia * points.unit**2)

    def _cluster(self, task: Task, rows: Rows, points: Points, dtype: torch.dtype) -> tuple[Clusterings, float]:
        """Clusterings, and the sum of the points' squared lengths."""

        def typed(x: Tensor) -> Tensor:
            return points(x, dtype)

        k = task.num_classes
        start = kmeans_plus_plus(rows, typed, k, self.restarts, self.seed)
        project = points.to_sphere if points.spherical else Tensor.double
        centres = lloyd(rows, typed, start, max_iter=self.max_iter, tol=self.tol, project=project)
        clusters = rows.y.new_zeros(0, self.restarts, dtype=torch.int32)
        sums = torch.zeros(self.restarts + 1, dtype=torch.float64, device=rows.device)
        for block, _ in rows.blocks():
            x = typed(block)
            distance, cluster = assign_clusters(x, centres)
            clusters = torch.cat([clusters, cluster.int()])
            sums[:-1] += distance.sum(0, dtype=torch.float64)
            sums[-1] += x.square().sum(dtype=torch.float64)
        sums = all_reduce_sum(sums)
        return Clusterings(gather_rows(clusters), sums[:-1]), float(sums[-1])


def _check_lengths(rows: Rows) -> None:
    zero = sum(((~x.any(1)).sum() for x, _ in rows.blocks()), start=rows.y.new_zeros(()))
    if zeros := int(all_reduce_sum(zero)):
        raise UserError(
            f"kmeans: {zeros} of {len(rows)} test features are zero and have no direction; give distances euclidean"
        )
