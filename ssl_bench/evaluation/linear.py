"""Linear classifiers of standardised features: many fitted at once in a few passes over the rows, chosen and scored."""

from collections.abc import Callable, Sequence
from math import ceil, log2
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_bench.distributed import all_reduce_sum
from ssl_bench.evaluation.rows import Rows
from ssl_bench.evaluation.solver import HISTORY, minimise
from ssl_bench.evaluation.task import Task

Loss = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Outputs ``(p, K, n)``, labels ``(n, T)`` and which problems ``(p,)`` they are of, to the losses ``(p, n)`` and their
derivatives by the outputs ``(p, K, n)``. The outputs may be overwritten."""

Fit = Callable[[Sequence[Rows], Tensor, Tensor | None, float], Tensor]
"""What to fit on, regularisation ``(G, T)``, weights ``(G, T, C, d + 1)`` to start from and tolerance, to weights."""

MEMORY = 2**28
"""Bytes that the problems solved together may take; with more, they are solved in groups."""
LOOSE, TIGHT = 1e-5, 1e-8
"""Tolerances of the solutions that are only compared and of those that are scored."""


class Standardised(NamedTuple):
    """Coordinates of features: standardised by the train split, and its principal axes after that.

    Attributes:
        mean: float32 ``(d,)``.
        scale: float32 ``(d,)``, 1 / standard deviation; 0 where a feature is constant, so that its weight is 0.
        variances: float64 ``(d,)`` of the standardised features along their principal axes.
        axes: float64 ``(d, d)``, one axis a column.
    """

    mean: Tensor
    scale: Tensor
    variances: Tensor
    axes: Tensor

    @classmethod
    def of(cls, task: Task) -> "Standardised":
        """The task's, computed once for all protocols."""

        def compute() -> Standardised:
            mean, deviation, correlation = task.moments()
            varies = correlation.diagonal() > 0.5  # it is 1, and a constant's is rounding error
            variances, axes = torch.linalg.eigh(correlation * varies * varies[:, None])
            # What is smaller is rounding error of the float32 sums, not variance.
            variances = variances.clamp_min(1e-6 * variances[-1].item())
            return cls(mean.float(), (varies / deviation).float(), variances, axes)

        return task.once("standardised", compute)

    def __call__(self, x: Tensor) -> Tensor:
        """Standardise a block ``(n, d)`` of features, into a new tensor."""
        return (x - self.mean).mul_(self.scale)

    def to_axes(self, weights: Tensor) -> Tensor:
        """Weights ``(..., d + 1)`` of standardised features, the intercept last, to those of principal components."""
        return torch.cat([weights[..., :-1] @ self.axes, weights[..., -1:]], -1)

    def from_axes(self, weights: Tensor) -> Tensor:
        """The inverse of :meth:`to_axes`."""
        return torch.cat([weights[..., :-1] @ self.axes.T, weights[..., -1:]], -1)


def fit(
    task: Task,
    splits: Sequence[Rows],
    loss: Loss,
    start: Tensor,
    l2: Tensor,
    *,
    intercept_penalised: bool,
    curvature: float,
    tolerance: float,
    max_iter: int,
) -> Tensor:
    """Minimise ``mean_i loss(W z_i + b) + l2 / 2 ||W||^2`` over W and b for P problems; z is x standardised by train.

    One pass over the rows gives the objective and gradient of every problem that has not converged. Sums over
    blocks are kept in whole multiples of a power of two, which float64 adds exactly: solutions are the same to the
    last bit however the blocks are spread over processes.

    Args:
        task: its train split gives the coordinates.
        splits: what to fit on.
        loss: convex, at least 0.
        start: float64 ``(P, K, d + 1)``: for each of K outputs the weights of standardised features, then b.
        l2: float64 ``(P,)``, above 0.
        intercept_penalised: whether ``l2 / 2 ||b||^2`` is added.
        curvature: about the second derivative of the loss by one output. Where ``curvature * (second moment) + l2``
            is the Hessian, the solver's coordinates make it the identity; it decides the speed, not the result.
        tolerance: see :func:`.solver.minimise`.
        max_iter: most passes over the rows.

    Returns:
        float64 ``(P, K, d + 1)``.
    """
    standardised = Standardised.of(task)
    outputs, dim = start.shape[1], task.train.dim
    count = sum(map(len, splits))
    whole = 2.0 ** (44 - ceil(log2(count)))
    penalty = l2[:, None].repeat(1, dim + 1)
    penalty[:, dim] *= intercept_penalised
    variances = torch.cat([standardised.variances, standardised.variances.new_ones(1)])
    length = (curvature * variances + penalty).rsqrt()[:, None]  # of the solver's units along the axes

    def solve(problems: Tensor) -> Tensor:
        def objective(points: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
            which = problems[index]
            along = points.view(len(which), outputs, dim + 1) * length[which]
            weights = standardised.from_axes(along).flatten(0, 1).float()
            value = points.new_zeros(len(which))
            gradient = torch.zeros_like(weights, dtype=points.dtype)
            for rows in splits:
                for x, y in rows.blocks():
                    z = standardised(x)
                    margins = torch.addmm(weights[:, dim:], weights[:, :dim], z.T)
                    losses, slopes = loss(margins.view(len(which), outputs, -1), y, which)
                    slopes = slopes.flatten(0, 1)
                    value += losses.sum(1, dtype=value.dtype).mul_(whole).round_()
                    # float32 holds the product by a power of two, and a number too large to be rounded is whole.
                    gradient[:, :dim] += (slopes @ z).mul_(whole).round_()
                    gradient[:, dim] += slopes.sum(1, dtype=value.dtype).mul_(whole).round_()
            total = all_reduce_sum(torch.cat([value, gradient.flatten()])) / (whole * count)
            pull = penalty[which][:, None] * along
            slope = standardised.to_axes(total[len(which) :].view(along.shape)) + pull
            return total[: len(which)] + (pull * along).sum((1, 2)) / 2, (slope * length[which]).flatten(1)

        points = (standardised.to_axes(start[problems]) / length[problems]).flatten(1)
        points = minimise(objective, points, tolerance=tolerance, max_passes=max_iter)
        return standardised.from_axes(points.view(len(problems), outputs, dim + 1) * length[problems])

    block = max(rows.slices()[0].stop for rows in splits)
    each = outputs * (8 * (2 * HISTORY + 10) * (dim + 1) + 4 * 4 * block)
    groups = torch.arange(len(start), device=start.device).split(max(MEMORY // each, 1))
    return torch.cat([solve(problems) for problems in groups])


def occurring(splits: Sequence[Rows], classes: int) -> Tensor:
    """How many rows have each class, int64 ``(T, classes)``."""
    y = torch.cat([rows.y for rows in splits])
    counts = torch.zeros(y.shape[1], classes, dtype=torch.int64, device=y.device)
    return counts.scatter_add_(1, y.T, torch.ones_like(y.T))


def score(task: Task, rows: Rows, weights: Tensor, known: Tensor) -> Tensor:
    """Percentage of rows whose class has the largest output, float64 ``(G, T)``.

    Args:
        task: its train split gives the coordinates.
        rows: what to classify.
        weights: ``(G, T, C, d + 1)``, as :func:`fit`'s.
        known: bool ``(T, C)``, classes that may be predicted.
    """
    standardised = Standardised.of(task)
    grid, targets, classes, _ = weights.shape
    flat = weights.flatten(1, 2).float()
    correct = torch.zeros(grid, targets, dtype=torch.float64, device=weights.device)
    for x, y in rows.blocks():
        z = standardised(x)
        for count, w in zip(correct, flat, strict=True):
            margins = torch.addmm(w[:, -1:], w[:, :-1], z.T).view(targets, classes, -1)
            predicted = margins.masked_fill_(~known[..., None], -torch.inf).argmax(1)
            count += (predicted == y.T).sum(1)
    return 100 * all_reduce_sum(correct) / len(rows)


def choose_and_score(task: Task, grid: Sequence[float], fit: Fit) -> list[tuple[float, float]]:
    """Fit with every regularisation of the grid on train, refit each target's best on train + validation.

    Args:
        task: T targets.
        grid: regularisations, the strongest first: of those equally good on validation the first is chosen.
        fit: see :data:`Fit`.

    Returns:
        For each target the accuracy on test, in percent, and the regularisation.
    """
    train = (task.train,)
    every = torch.tensor(grid, dtype=torch.float64, device=task.device)[:, None].expand(-1, task.num_targets)
    weights = fit(train, every, None, LOOSE)
    best = score(task, task.validation, weights, occurring(train, task.num_classes) > 0).argmax(0)
    target = torch.arange(task.num_targets, device=task.device)
    chosen = every[best, target]
    weights = fit(task.fitting, chosen[None], weights[best, target][None], TIGHT)
    accuracy = score(task, task.test, weights, occurring(task.fitting, task.num_classes) > 0)[0]
    return list(zip(accuracy.tolist(), chosen.tolist(), strict=True))
