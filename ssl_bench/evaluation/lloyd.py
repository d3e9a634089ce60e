"""K-means: k-means++ seeding and Lloyd's iterations for many clusterings at once."""

from collections.abc import Callable
from functools import partial
from math import log

import torch
from torch import Tensor

from ssl_bench.distributed import all_reduce_sum
from ssl_bench.errors import UserError
from ssl_bench.evaluation.rows import Rows

FEW = 0.1
"""Fraction of points that change cluster below which index_add is faster than a matrix product on a CPU."""

PAIRS = 2**25
"""Number of pairs of a point and a centre in memory at a time: 128 MiB."""

ToPoints = Callable[[Tensor], Tensor]
"""Function of the features of a block ``(n, D)`` that returns the points to cluster ``(n, d)``, float32 or float64."""


def nearest_centres(x: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest centre of each point in each of R clusterings, and its score ``x c - |c|^2 / 2``.

    The score is half of ``|x|^2`` minus the squared distance, so it is largest for the nearest centre.

    Args:
        x: points ``(n, d)``.
        centres: centres of the R clusterings, ``(R, K, d)``.

    Returns:
        Scores and cluster indices, both ``(n, R)``.
    """
    flat = centres.flatten(0, 1)
    squares = flat.square().sum(1)
    parts = [
        torch.addmm(squares, part, flat.T, beta=-0.5).view(len(part), *centres.shape[:2]).max(2)
        for part in x.split(max(1, PAIRS // len(flat)))
    ]
    best, cluster = map(torch.cat, zip(*parts, strict=True))
    return best, cluster


def assign_clusters(x: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest of centres ``(R, K, d)`` to points ``(n, d)``: squared distances and indices, both ``(n, R)``."""
    best, cluster = nearest_centres(x, centres)
    return (x.square().sum(1, keepdim=True) - 2 * best).clamp_min(0), cluster


def _squared_distance(points: ToPoints, centres: Tensor, x: Tensor) -> Tensor:
    return assign_clusters(points(x), centres)[0]


def _change_of_sums(x: Tensor, cluster: Tensor, before: Tensor | None, k: int) -> Tensor:
    """Change of the sums of the points of each cluster, ``(R * K, d)``.

    Args:
        x: points ``(n, d)``.
        cluster: cluster of each point in R clusterings, ``(n, R)``.
        before: clusters in the previous iteration; None in the first iteration, which returns the sums themselves.
        k: number of clusters.
    """
    number = cluster + k * torch.arange(cluster.shape[1], device=x.device)
    if before is not None and x.device.type == "cpu":
        which, clustering = (cluster != before).nonzero(as_tuple=True)
        if len(which) < FEW * cluster.numel():
            moved, to = x[which], number[which, clustering]
            change = x.new_zeros(cluster.shape[1] * k, x.shape[1]).index_add_(0, to, moved)
            return change.index_add_(0, to - (cluster - before)[which, clustering], moved, alpha=-1)
    change = x.new_zeros(cluster.shape[1] * k, x.shape[1])
    step = max(1, PAIRS // len(change))
    for start in range(0, len(x), step):
        part = slice(start, start + step)
        member = x.new_zeros(len(x[part]), len(change)).scatter_(1, number[part], 1)
        if before is not None:
            left = (number - cluster + before)[part]
            member.scatter_add_(1, left, x.new_full(left.shape, -1))
        change += member.T @ x[part]
    return change


def kmeans_plus_plus(rows: Rows, points: ToPoints, k: int, restarts: int, seed: int) -> Tensor:
    """Initial centres by greedy k-means++ (Arthur & Vassilvitskii 2007).

    Each centre is the best of ``2 + ln k`` candidates, as in scikit-learn. Every process stores all distances
    (``N x restarts x (2 + ln k)`` numbers), so that all processes choose the same candidates. They are written to the
    same memory for every centre: new tensors between others that are kept would fragment the heap.

    Returns:
        Centres ``(restarts, k, d)``.

    Raises:
        UserError: fewer than k points differ by more than the rounding error of their type.
    """
    generator = torch.Generator().manual_seed(seed)
    trials = 2 + int(log(k))

    def distances(x: Tensor, centres: Tensor) -> Tensor:
        own = x.square().sum(1, keepdim=True)
        distance = own + centres.square().sum(1) - 2 * x @ centres.T
        rounding = 8 * torch.finfo(x.dtype).eps * own  # of a centre's distance to itself
        return distance.where(distance > rounding, 0.0)

    def to(centres: Tensor, out: Tensor | None = None) -> Tensor:
        return rows.map(lambda x: distances(points(x), centres), len(centres), dtype=centres.dtype, out=out)

    first = points(rows.take(torch.randint(len(rows), (restarts,), generator=generator)))
    chosen = first.new_empty(restarts, k, first.shape[1])
    chosen[:, 0] = first
    closest = to(first).unsqueeze(2)  # (N, R, 1)
    after = closest.new_empty(len(rows), restarts, trials)
    mass = torch.empty(restarts, len(rows), dtype=torch.float64)  # a cumulative sum on a GPU is not reproducible
    every = torch.arange(restarts, device=closest.device)
    for number in range(1, k):
        mass.copy_(closest.squeeze(2).T).cumsum_(1)
        if not mass[:, -1].all():
            raise UserError(
                f"fewer than {k} of {len(rows)} features differ by more than rounding errors; "
                f"{k} clusters need {k} that do"
            )
        values = torch.rand(restarts, trials, generator=generator, dtype=torch.float64) * mass[:, -1:]
        candidates = torch.searchsorted(mass, values, right=True).clamp_max(len(rows) - 1).to(closest.device)
        centres = points(rows.take(candidates.flatten()))
        to(centres, out=after.flatten(1))
        torch.minimum(after, closest, out=after)
        best = after.sum(0, dtype=torch.float64).argmin(1)
        chosen[:, number] = centres.view(restarts, trials, -1)[every, best]
        torch.gather(after, 2, best.view(1, -1, 1).expand_as(closest), out=closest)
    return chosen


def lloyd(
    rows: Rows,
    points: ToPoints,
    centres: Tensor,
    *,
    max_iter: int,
    tol: float,
    project: Callable[[Tensor], Tensor] = torch.Tensor.double,
) -> Tensor:
    """Lloyd's iterations of R clusterings, one pass over the rows per iteration for all of them.

    A clustering stops when the squared movements of its centres sum to at most `tol` times the mean variance of a
    coordinate within clusters. An empty cluster restarts from the point farthest from its own centre.

    Args:
        rows: rows whose points are clustered.
        points: maps features to points.
        centres: initial centres ``(R, K, d)``, of the type of the points.
        max_iter: maximum number of iterations.
        tol: tolerance.
        project: function that moves mean points, float64 ``(R, K, d)``, to centres; for spherical k-means.

    Returns:
        Centres ``(R, K, d)``.
    """
    centres = centres.clone()
    restarts, k, dim = centres.shape
    active = torch.arange(restarts, device=centres.device)
    squares = torch.zeros((), dtype=torch.float64, device=centres.device)
    for block, _ in rows.blocks():
        squares += points(block).square().sum(dtype=torch.float64)
    squares = all_reduce_sum(squares)
    clusters: list[Tensor] = []  # last clusters of each block of this process
    own = centres.new_zeros(restarts * k, dim, dtype=torch.float64)  # sums of this process's points of each cluster
    for _ in range(max_iter):
        old = centres[active]
        counts, inertia = own.new_zeros(len(active) * k), own.new_zeros(len(active))
        before, clusters = clusters, []
        for number, (block, _) in enumerate(rows.blocks()):
            x = points(block)
            best, cluster = nearest_centres(x, old)
            own += _change_of_sums(x, cluster, before[number] if before else None, k)
            counts += torch.bincount(
                (cluster + k * torch.arange(len(active), device=x.device)).flatten(), minlength=len(counts)
            )
            inertia -= 2 * best.sum(0, dtype=torch.float64)
            clusters.append(cluster)
        sums, counts, inertia = all_reduce_sum(own), all_reduce_sum(counts), squares + all_reduce_sum(inertia)
        means = (sums / counts.unsqueeze(1).clamp_min(1)).view(old.shape)
        new = project(means).to(centres.dtype)
        empty = (counts == 0).view(len(active), k)
        if empty.any():
            far = rows.map(partial(_squared_distance, points, old), len(active), dtype=centres.dtype)
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
