"""K-means clusters of the test features, matched with classes (Zhang & Maire 2023, arXiv 2310.00357)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ssl_bench.distributed import all_reduce_sum
from ssl_bench.errors import UserError
from ssl_bench.evaluation.clustering_metrics import clustering_metrics, count_pairs
from ssl_bench.evaluation.lloyd import assign_clusters, kmeans_plus_plus, lloyd
from ssl_bench.evaluation.points import PRECISE, Points
from ssl_bench.evaluation.rows import Rows
from ssl_bench.evaluation.task import Task
from ssl_bench.ranges import NonNegativeFloat, PositiveInt, check_ranges


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
        rows = task.test.exact()
        if spherical:
            _check_lengths(rows)
        points = Points.of((rows,), spherical=spherical)
        try:
            table, inertia, squares = self._cluster(task, rows, points, torch.float32)
            precise = bool(inertia.min() >= PRECISE * squares)
        except UserError:  # too few points differ in float32
            precise = False
        if not precise:
            try:
                table, inertia, _ = self._cluster(task, rows, points, torch.float64)
            except UserError as error:
                raise UserError(f"kmeans: {error}") from error
        inertia = inertia * points.unit**2
        best = int(inertia.argmin())
        scores = clustering_metrics(table)
        return [
            {f"{name}/{metric}": value[t].mean().item() for metric, value in scores.items()}
            | {
                f"{name}_sd/{metric}": value[t].std(correction=min(1, self.restarts - 1)).item()
                for metric, value in scores.items()
            }
            | {f"{name}_best/{metric}": value[t, best].item() for metric, value in scores.items()}
            | {f"{name}_best/inertia": inertia[best].item()}
            for t in range(task.num_targets)
        ]

    def _cluster(self, task: Task, rows: Rows, points: Points, dtype: torch.dtype) -> tuple[Tensor, Tensor, float]:
        """Pairs of cluster and class ``(T, R, K, K)``, inertia ``(R,)``, and the sum of the points' squared lengths."""

        def typed(x: Tensor) -> Tensor:
            return points(x, dtype)

        k = task.num_classes
        start = kmeans_plus_plus(rows, typed, k, self.restarts, self.seed)
        project = points.to_sphere if points.spherical else Tensor.double
        centres = lloyd(rows, typed, start, max_iter=self.max_iter, tol=self.tol, project=project)
        table = rows.y.new_zeros(task.num_targets, self.restarts, k, k)
        sums = torch.zeros(self.restarts + 1, dtype=torch.float64, device=rows.device)
        for block, y in rows.blocks():
            x = typed(block)
            distance, cluster = assign_clusters(x, centres)
            count_pairs(table, cluster, y)
            sums[:-1] += distance.sum(0, dtype=torch.float64)
            sums[-1] += x.square().sum(dtype=torch.float64)
        sums = all_reduce_sum(sums)
        return all_reduce_sum(table), sums[:-1], float(sums[-1])


def _check_lengths(rows: Rows) -> None:
    zero = sum(((~x.any(1)).sum() for x, _ in rows.blocks()), start=rows.y.new_zeros(()))
    if zeros := int(all_reduce_sum(zero)):
        raise UserError(
            f"kmeans: {zeros} of {len(rows)} test features are zero and have no direction; give distances euclidean"
        )
