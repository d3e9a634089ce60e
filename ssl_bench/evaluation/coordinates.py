"""Coordinates in which linear classifiers are fitted: along the principal axes of the standardised features."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_bench.evaluation.rows import Rows
from ssl_bench.evaluation.span import Span
from ssl_bench.evaluation.task import Task

KEPT = 2**22
"""Maximum number of features that are standardised once and kept, 16 MiB, instead of in every pass."""


@dataclass(frozen=True)
class Standardised:
    """Standardisation of features by the train split.

    Attributes:
        mean: means of the features ``(d,)``, in the type of the computation.
        scale: 1 / standard deviation of the features ``(d,)``; 0 if a feature is constant, so that its weight is 0.
    """

    mean: Tensor
    scale: Tensor

    @classmethod
    def of(cls, task: Task) -> "Standardised":
        """The standardisation of a task."""
        scaling = task.scaling()
        dtype = scaling.precision(task.train.exact().dtype)
        return cls(scaling.mean.to(dtype), (scaling.varies / scaling.deviation).to(dtype))

    def __call__(self, x: Tensor) -> Tensor:
        """Standardise a block ``(n, d)`` of features into a new float32 tensor."""
        return (x.to(self.mean.dtype) - self.mean).mul_(self.scale).float()


class Coordinates(NamedTuple):
    """Rows to fit on as points with m coordinates, and the principal axes of the points.

    The points are the standardised features, m = d. If train and validation have fewer images than features, the points
    are coordinates along the principal axes of the span of all standardised rows, and m is the number of rows. Weights
    that minimise a loss of the outputs plus an L2 penalty lie in this span (Schoelkopf et al. 2001, A generalized
    representer theorem), and lengths do not change, so the problem is the same.

    Attributes:
        parts: the rows; their features are the points if there is a span, or at most `KEPT` features.
        points: maps blocks of these rows to points, float32 ``(n, m)``.
        variances: mean squares of the points along the principal axes, float64 ``(m,)``, positive.
        axes: principal axes of the points, float64 ``(m, m)``, one per column; None if there is a span.
        span: the span; None if there are at least as many images as features.
    """

    parts: list[Rows]
    points: Callable[[Tensor], Tensor]
    variances: Tensor
    axes: Tensor | None
    span: Span | None

    @classmethod
    def of(cls, task: Task, splits: Sequence[Rows]) -> "Coordinates":
        """Coordinates of these splits: train, validation or both."""
        standardised = Standardised.of(task)
        if task.wide:
            span = task.once("span", lambda: Span.of(tuple(rows.exact() for rows in task.fitting), standardised))
            points = dict(zip(map(id, task.fitting), span.coordinates(), strict=True))
            parts = [replace(rows, features=points[id(rows)].float(), index=None) for rows in splits]
            return cls(parts, Tensor.float, _not_rounded(span.second_moments), None, span)

        def principal_axes() -> tuple[Tensor, Tensor]:
            scaling, correlation = task.moments()
            variances, axes = torch.linalg.eigh(correlation * scaling.varies * scaling.varies[:, None])
            return _not_rounded(variances), axes

        variances, axes = task.once("principal axes", principal_axes)
        parts = [rows.exact() for rows in splits]
        if sum(map(len, parts)) * task.train.dim <= KEPT:
            parts = [rows.mapped(standardised, rows.dim, torch.float32) for rows in parts]
            return cls(parts, Tensor.float, variances, axes, None)
        return cls(parts, standardised, variances, axes, None)

    def project(self, weights: Tensor) -> Tensor:
        """Weights ``(..., m + 1)`` along the axes from weights ``(..., d + 1)`` of standardised features.

        The last weight is the intercept. Weights outside the span are lost.
        """
        return self.along_axes(weights) if self.span is None else _change(weights, self.span.project)

    def embed(self, weights: Tensor) -> Tensor:
        """Weights ``(..., d + 1)`` of standardised features from weights ``(..., m + 1)`` along the axes."""
        return self.of_points(weights) if self.span is None else _change(weights, self.span.embed)

    def along_axes(self, weights: Tensor) -> Tensor:
        """Weights along the axes from weights of points, both ``(..., m + 1)``; also for gradients."""
        axes = self.axes
        return weights if axes is None else _change(weights, lambda w: w @ axes)

    def of_points(self, weights: Tensor) -> Tensor:
        """The inverse of :meth:`along_axes`."""
        axes = self.axes
        return weights if axes is None else _change(weights, lambda w: w @ axes.T)


def _change(weights: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Change the weights except the last one, the intercept."""
    return torch.cat([change(weights[..., :-1]), weights[..., -1:]], -1)


def _not_rounded(variances: Tensor) -> Tensor:
    """Variances in increasing order, where smaller ones are rounding error of the float32 sums."""
    return variances.clamp_min(1e-6 * variances[-1].item())
