"""Principal axes of few points in many dimensions, from the Gram matrix of the points (the dual form of PCA)."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_bench.evaluation.rows import Rows

ToPoints = Callable[[Tensor], Tensor]
"""Function of the features of a block ``(n, d)`` that returns the points ``(n, d)``."""


def gram_matrix(parts: Sequence[Rows], points: ToPoints) -> Tensor:
    """Products of all pairs of points, float64 ``(n, n)``, the same in every process.

    Every process has all n points in memory, in float64, and multiplies those of its own blocks with all points.

    Args:
        parts: parts with ``n_i`` rows each; n is their sum.
        points: maps features to points.
    """
    every = torch.cat(list(_blocks(parts, points)))
    return torch.cat(
        [rows.map(lambda x: points(x).double() @ every.T, len(every), dtype=every.dtype) for rows in parts]
    )


def _blocks(parts: Sequence[Rows], points: ToPoints) -> Iterator[Tensor]:
    """Points of all blocks of all parts in order, float64, in every process."""
    for rows in parts:
        for block in rows.slices():
            yield points(rows.take(block)).double()


class Span(NamedTuple):
    """Span of n points in d > n dimensions, with the principal axes of the points as its basis.

    Every axis is a linear combination of the points. No matrix larger than ``(n, n)`` or ``(n, d)`` is needed.

    Attributes:
        parts: rows of the points.
        points: maps features to points.
        second_moments: mean squares of the points along the axes, float64 ``(n,)``, increasing.
        vectors: eigenvectors of the Gram matrix, float64 ``(n, n)``, one per column.
        lengths: lengths of the vectors of the points' coordinates along each axis, float64 ``(n,)``; 0 if the length is
            rounding error. Nothing is projected on such an axis.
    """

    parts: tuple[Rows, ...]
    points: ToPoints
    second_moments: Tensor
    vectors: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, parts: tuple[Rows, ...], points: ToPoints) -> "Span":
        """The span of the points of all parts, the same in every process."""
        gram = gram_matrix(parts, points)
        squares, vectors = torch.linalg.eigh(gram)
        rounding = len(gram) * torch.finfo(gram.dtype).eps * squares[-1]
        squares = squares.where(squares > rounding, 0.0)
        return cls(parts, points, squares / len(gram), vectors, squares.sqrt())

    def coordinates(self) -> tuple[Tensor, ...]:
        """Coordinates ``(n_i, n)`` of the points of each part along the axes, float64."""
        return torch.split(self.vectors * self.lengths, [len(rows) for rows in self.parts])

    def project(self, x: Tensor) -> Tensor:
        """Coordinates ``(..., n)`` of vectors ``(..., d)`` along the axes, float64."""
        if not x.any():  # the usual start of a fit
            return x.new_zeros(*x.shape[:-1], len(self.lengths))
        products = torch.cat([x @ block.T for block in _blocks(self.parts, self.points)], -1)
        return products @ self._coefficients()

    def embed(self, coordinates: Tensor) -> Tensor:
        """Vectors ``(..., d)`` with given coordinates ``(..., n)`` along the axes, float64."""
        coefficients = coordinates @ self._coefficients().T
        sizes = [rows.stop - rows.start for part in self.parts for rows in part.slices()]
        blocks = zip(coefficients.split(sizes, -1), _blocks(self.parts, self.points), strict=True)
        return torch.stack([some @ block for some, block in blocks]).sum(0)

    def _coefficients(self) -> Tensor:
        """Axes as linear combinations of the points, ``(n, n)``, one per column."""
        return self.vectors * torch.where(self.lengths > 0, 1 / self.lengths, 0.0)
