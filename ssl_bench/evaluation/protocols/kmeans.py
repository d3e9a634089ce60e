"""K-means on the test features, matched with the classes (Zhang & Maire 2023, arXiv 2310.00357).

Lloyd's iterations from k-means++ (Arthur & Vassilvitskii 2007), all restarts at once; with features and centres of
length 1 it is spherical k-means (Dhillon & Modha 2001).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import log
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_bench.distributed import all_reduce_sum
from ssl_bench.errors import UserError
from ssl_bench.evaluation.clustering import contingency, figures
from ssl_bench.evaluation.rows import Rows
from ssl_bench.evaluation.task import Task

SELDOM = 0.1
"""Below this share of points that change their cluster, adding them one by one beats a matrix product, on a CPU."""

Points = Callable[[Tensor], Tensor]
"""Maps a block's features ``(n, D)`` to the points ``(n, d)``, float32, that are clustered."""


def gain(x: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """``x c - |c|^2 / 2`` of points ``(n, d)`` with the nearest of centres ``(R, K, d)``, and which: both ``(n, R)``.

    It is half of ``|x|^2`` less the squared distance, and so is largest for the nearest.
    """
    flat = centres.flatten(0, 1)
    best, cluster = torch.addmm(flat.square().sum(1), x, flat.T, beta=-0.5).view(len(x), *centres.shape[:2]).max(2)
    return best, cluster


def assign_clusters(x: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distances from points ``(n, d)`` to the nearest of centres ``(R, K, d)``, and which: both ``(n, R)``."""
    best, cluster = gain(x, centres)
    return (x.square().sum(1, keepdim=True) - 2 * best).clamp_min(0), cluster


def _distance(points: Points, centres: Tensor, x: Tensor) -> Tensor:
    return assign_clusters(points(x), centres)[0]


def change_of_sums(x: Tensor, cluster: Tensor, before: Tensor | None, k: int) -> Tensor:
    """By how much the sums of the points of each cluster change: ``(R * K, d)``.

    Args:
        x: points ``(n, d)``.
        cluster: the cluster of each in each of R clusterings, ``(n, R)``.
        before: what it was; None for nothing, so that the change is the sum itself.
        k: clusters of each clustering.
    """
    number = cluster + k * torch.arange(cluster.shape[1], device=x.device)
    if before is not None and x.device.type == "cpu":
        which, clustering = (cluster != before).nonzero(as_tuple=True)
        if len(which) < SELDOM * cluster.numel():
            moved, to = x[which], number[which, clustering]
            change = x.new_zeros(cluster.shape[1] * k, x.shape[1]).index_add_(0, to, moved)
            return change.index_add_(0, to - (cluster - before)[which, clustering], moved, alpha=-1)
    member = x.new_zeros(len(x), cluster.shape[1] * k).scatter_(1, number, 1)
    if before is not None:
        member.scatter_add_(1, number - cluster + before, x.new_full(number.shape, -1))
    return member.T @ x


def seed_centres(rows: Rows, points: Points, k: int, restarts: int, seed: int) -> Tensor:
    """Centres ``(restarts, k, d)`` by greedy k-means++, each the best of ``2 + ln k`` draws, as scikit-learn's.

    Distances are gathered whole in every process (``N x restarts x (2 + ln k)`` numbers), so that each draws the same.

    Raises:
        UserError: if fewer than k points differ by more than float32's rounding error.
    """
    generator = torch.Generator().manual_seed(seed)
    trials = 2 + int(log(k))

    def distances(x: Tensor, centres: Tensor) -> Tensor:
        own = x.square().sum(1, keepdim=True)
        distance = own + centres.square().sum(1) - 2 * x @ centres.T
        return distance.where(distance > 1e-6 * own, 0.0)  # what remains of a centre's own distance is rounding error

    def to(centres: Tensor) -> Tensor:
        return rows.map(lambda x: distances(points(x), centres), len(centres), dtype=torch.float32)

    first = torch.randint(len(rows), (restarts,), generator=generator)
    chosen = [points(rows.take(first))]
    closest = to(chosen[0])  # (N, R)
    for _ in range(1, k):
        mass = closest.T.double().cpu().cumsum(1)  # (R, N); on a GPU a cumulative sum is not the same twice
        if not mass[:, -1].all():
            raise UserError(f"kmeans: fewer than {k} of {len(rows)} features differ; {k} clusters need {k} that do")
        draws = torch.rand(restarts, trials, generator=generator, dtype=torch.float64) * mass[:, -1:]
        candidates = torch.searchsorted(mass, draws, right=True).clamp_max(len(rows) - 1).to(closest.device)
        centres = points(rows.take(candidates.flatten()))
        after = to(centres).view(len(rows), restarts, trials).minimum(closest.unsqueeze(2))
        best = after.sum(0, dtype=torch.float64).argmin(1)
        every = torch.arange(restarts, device=best.device)
        chosen.append(centres.view(restarts, trials, -1)[every, best])
        closest = after[:, every, best]
    return torch.stack(chosen, 1)


def lloyd(rows: Rows, points: Points, centres: Tensor, *, unit: bool, max_iter: int, tol: float) -> Tensor:
    """Centres ``(R, K, d)`` of R clusterings after Lloyd's iterations from some, all restarts in one pass of the rows.

    A restart ends when the squares of its centres' moves, summed, are at most `tol` times the mean variance of a
    coordinate within clusters. A cluster that is empty goes on from the point farthest from its own centre.

    Args:
        rows: whose points are clustered.
        points: features to points.
        centres: float32 ``(R, K, d)``.
        unit: whether centres are scaled to length 1, which is spherical k-means if points have it too.
        max_iter: most iterations.
        tol: see above.
    """
    centres = centres.clone()
    restarts, k, dim = centres.shape
    active = torch.arange(restarts, device=centres.device)
    squares = torch.zeros((), dtype=torch.float64, device=centres.device)
    for block, _ in rows.blocks():
        squares += points(block).square().sum(dtype=torch.float64)
    squares = all_reduce_sum(squares)
    clusters: list[Tensor] = []  # of this process's blocks, where they were last
    own = centres.new_zeros(restarts * k, dim, dtype=torch.float64)  # this process's sums of the points of each cluster
    for _ in range(max_iter):
        old = centres[active]
        counts, inertia = own.new_zeros(len(active) * k), own.new_zeros(len(active))
        before, clusters = clusters, []
        for number, (block, _) in enumerate(rows.blocks()):
            x = points(block)
            best, cluster = gain(x, old)
            own += change_of_sums(x, cluster, before[number] if before else None, k)
            counts += torch.bincount(
                (cluster + k * torch.arange(len(active), device=x.device)).flatten(), minlength=len(counts)
            )
            inertia -= 2 * best.sum(0, dtype=torch.float64)
            clusters.append(cluster)
        sums, counts, inertia = all_reduce_sum(own), all_reduce_sum(counts), squares + all_reduce_sum(inertia)
        means = (sums / counts.unsqueeze(1).clamp_min(1)).view(old.shape)
        new = (F.normalize(means, dim=2) if unit else means).float()
        empty = (counts == 0).view(len(active), k)
        if empty.any():
            far = rows.map(partial(_distance, points, old), len(active), dtype=torch.float32)
            for r in empty.any(1).nonzero().flatten().tolist():
                lost = empty[r].nonzero().flatten()
                new[r, lost] = points(rows.take(far[:, r].argsort(descending=True, stable=True)[: len(lost)]))
        centres[active] = new
        moved = (new - old).double().square().sum((1, 2))
        going = moved > tol * inertia / (len(rows) * dim)
        active, clusters = active[going], [cluster[:, going] for cluster in clusters]
        own = own.view(-1, k, dim)[going].flatten(0, 1)
        if not len(active):
            break
    return centres


@dataclass(frozen=True)
class KMeans:
    """Clusters the test images, without their labels, and asks how well the clusters are the classes.

    As many clusters as classes, fitted on the test split itself (structural GAN paper, "mean over 20 runs"). Of each
    figure of :func:`~ssl_bench.evaluation.clustering.figures` there are the mean over restarts, their standard
    deviation and the value of the restart with the lowest inertia, the only one that could be chosen without labels.
    Spherical k-means is on features scaled to length 1, with centres of length 1; a feature of length 0 is refused.
    The Euclidean one is on the features as they are.

    Args:
        distances: one or both of ``spherical`` (``kmeans/...``) and ``euclidean`` (``kmeans_euclidean/...``).
        restarts: clusterings, each from its own k-means++ seeding.
        max_iter: most Lloyd iterations.
        tol: a restart ends when its centres' squared moves are at most this part of the mean variance within clusters.
        seed: of the seeding.
    """

    distances: tuple[Literal["spherical", "euclidean"], ...] = ("spherical",)
    restarts: int = 20
    max_iter: int = 300
    tol: float = 1e-4
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.distances or self.restarts < 1 or self.max_iter < 1 or self.tol < 0:
            raise UserError(
                f"kmeans: distances = {list(self.distances)}, restarts = {self.restarts}, max_iter = {self.max_iter}, "
                f"tol = {self.tol}; give one or two distances, at least 1 of each number, and a tol of 0 or more"
            )

    def __call__(self, task: Task) -> list[dict[str, float]]:
        """For each target and distance: ``kmeans/<figure>`` in percent, ``kmeans_sd/``, ``kmeans_best/``.

        Figures are accuracy, nmi, ari and purity. ``kmeans_best/inertia`` is the sum of squared distances to the
        centres; in the spherical case the distance is the chord, ``2 (1 - cosine)``.

        Raises:
            UserError: fewer test images, or fewer that differ, than classes; or a feature of length 0.
        """
        if len(task.test) < task.num_classes:
            raise UserError(f"kmeans: {len(task.test)} test images for {task.num_classes} clusters; give more images")
        result: list[dict[str, float]] = [{} for _ in range(task.num_targets)]
        for distance in self.distances:
            name = "kmeans" if distance == "spherical" else f"kmeans_{distance}"
            for one, found in zip(result, self._score(task, name, distance == "spherical"), strict=True):
                one |= found
        return result

    def _score(self, task: Task, name: str, spherical: bool) -> list[dict[str, float]]:
        rows, k = task.test, task.num_classes
        if spherical:
            zero = sum(((~x.any(1)).sum() for x, _ in rows.blocks()), start=rows.y.new_zeros(()))
            if zeros := int(all_reduce_sum(zero)):
                raise UserError(
                    f"kmeans: {zeros} of {len(rows)} test features are zero and have no direction; "
                    "give distances euclidean"
                )
        origin = rows.take(slice(1))[0]  # about it, as float32 loses the distances of features far from 0

        def points(x: Tensor) -> Tensor:
            return F.normalize(x) if spherical else x - origin

        start = seed_centres(rows, points, k, self.restarts, self.seed)
        centres = lloyd(rows, points, start, unit=spherical, max_iter=self.max_iter, tol=self.tol)
        table = rows.y.new_zeros(task.num_targets, self.restarts, k, k)
        inertia = torch.zeros(self.restarts, dtype=torch.float64, device=rows.device)
        for block, y in rows.blocks():
            distance, cluster = assign_clusters(points(block), centres)
            table += contingency(cluster, y, k, k)
            inertia += distance.sum(0, dtype=torch.float64)
        inertia = all_reduce_sum(inertia)
        best = int(inertia.argmin())
        found = figures(all_reduce_sum(table))
        return [
            {f"{name}/{figure}": value[t].mean().item() for figure, value in found.items()}
            | {
                f"{name}_sd/{figure}": value[t].std(correction=min(1, self.restarts - 1)).item()
                for figure, value in found.items()
            }
            | {f"{name}_best/{figure}": value[t, best].item() for figure, value in found.items()}
            | {f"{name}_best/inertia": inertia[best].item()}
            for t in range(task.num_targets)
        ]
