"""Linear classifiers of standardised features, many fitted at once in a few passes over the rows."""

import warnings
from collections.abc import Callable, Sequence
from math import ceil, log2

import torch
from torch import Tensor

from ssl_bench.distributed import all_reduce_sum
from ssl_bench.evaluation.coordinates import Coordinates
from ssl_bench.evaluation.notes import ProtocolNote
from ssl_bench.evaluation.rows import Rows
from ssl_bench.evaluation.solver import HISTORY, minimise
from ssl_bench.evaluation.task import Task

Loss = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Function of outputs ``(p, K, n)``, labels ``(n, T)`` and problem indices ``(p,)`` that returns losses ``(p, n)`` and
their derivatives with respect to the outputs, ``(p, K, n)``. It may overwrite the outputs."""

MEMORY = 2**28
"""Maximum size in bytes of the problems that are solved together; more problems are solved in groups."""
TIGHT = 1e-8
"""Tolerance of solutions that are compared on validation and scored on test."""


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
    name: str = "",
) -> Tensor:
    """Minimise ``mean_i loss(W z_i + b) + l2 / 2 ||W||^2`` over W and b for P problems.

    z are the features standardised by train. One pass over the rows gives the objective and gradient of every problem
    that has not converged. Sums over blocks are integer multiples of a power of two, which float64 adds exactly.
    Solutions are therefore identical to the last bit on any number of processes. If train and validation have fewer
    images than features, the same problem is solved in the span of their rows, see :class:`.Coordinates`.

    Args:
        task: task whose train split gives the standardisation.
        splits: splits to fit on: train, validation or both.
        loss: convex and non-negative loss.
        start: initial W and b, float64 ``(P, K, d + 1)``: for each of K outputs the weights of standardised features,
            then b.
        l2: penalty of each problem, float64 ``(P,)``, positive.
        intercept_penalised: whether ``l2 / 2 ||b||^2`` is added to the objective.
        curvature: approximate second derivative of the loss with respect to one output. In the coordinates of the
            solver, ``curvature * (second moment) + l2`` is the identity. It affects the speed, not the result.
        tolerance: see :func:`.solver.minimise`.
        max_iter: maximum number of passes over the rows.
        name: name of the protocol, for a note if a problem has not converged within `max_iter`; empty for no note.

    Returns:
        The minimising W and b, float64 ``(P, K, d + 1)``.
    """
    coordinates = Coordinates.of(task, splits)
    outputs, dim = start.shape[1], len(coordinates.variances)
    count = sum(map(len, splits))
    resolution = 2.0 ** (44 - ceil(log2(count)))  # terms are rounded to multiples of 1 / resolution
    penalty = l2[:, None].repeat(1, dim + 1)
    penalty[:, dim] *= intercept_penalised
    variances = torch.cat([coordinates.variances, coordinates.variances.new_ones(1)])
    length = (curvature * variances + penalty).rsqrt()[:, None]  # length of the solver's unit along each axis

    def solve(problems: Tensor) -> tuple[Tensor, Tensor]:
        def objective(points: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
            which = problems[index]
            unit, pull = length.index_select(0, which), penalty.index_select(0, which)[:, None]
            along = points.view(len(which), outputs, dim + 1) * unit
            weights = coordinates.of_points(along).flatten(0, 1).float()
            value = points.new_zeros(len(which))
            gradient = torch.zeros_like(weights, dtype=points.dtype)
            for rows in coordinates.parts:
                for x, y in rows.blocks():
                    z = coordinates.points(x)
                    margins = torch.addmm(weights[:, dim:], weights[:, :dim], z.T)
                    losses, slopes = loss(margins.view(len(which), outputs, -1), y, which)
                    slopes = slopes.flatten(0, 1)
                    value += losses.sum(1, dtype=value.dtype).mul_(resolution).round_()
                    # The product with a power of two is exact in float32. Numbers too large to round are integers.
                    gradient[:, :dim] += (slopes @ z).mul_(resolution).round_()
                    gradient[:, dim] += slopes.sum(1, dtype=value.dtype).mul_(resolution).round_()
            total = all_reduce_sum(torch.cat([value, gradient.flatten()])) / (resolution * count)
            pull = pull * along
            slope = coordinates.along_axes(total[len(which) :].view(along.shape)) + pull
            return total[: len(which)] + (pull * along).sum((1, 2)) / 2, (slope * unit).flatten(1)

        points = (coordinates.project(start[problems]) / length[problems]).flatten(1)
        points, converged = minimise(objective, points, tolerance=tolerance, max_passes=max_iter)
        return coordinates.embed(points.view(len(problems), outputs, dim + 1) * length[problems]), converged

    block = max(rows.slices()[0].stop for rows in splits)
    each = outputs * (8 * (2 * HISTORY + 10) * (dim + 1) + 4 * 4 * block)
    groups = torch.arange(len(start), device=start.device).split(max(MEMORY // each, 1))
    weights, converged = map(torch.cat, zip(*map(solve, groups), strict=True))
    if name and (unfinished := int((~converged).sum())):
        warnings.warn(
            f"{name}: {unfinished} of {len(converged)} scored fits have not converged in {max_iter} passes (max_iter)",
            ProtocolNote,
            stacklevel=2,
        )
    return weights
