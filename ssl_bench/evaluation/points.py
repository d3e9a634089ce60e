"""Points: features centred and scaled, so that products in float32 rank and measure distances."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_bench.distributed import all_reduce_min
from ssl_bench.evaluation.rows import Rows

SAMPLE = 4096
"""Maximum number of rows of each part from which the origin and the unit are computed."""
FAR = 16
"""Features are centred if the squared length of their mean is more than this multiple of their variance."""
LIMIT = 1e15
"""Largest length of a point in float32 whose square and products cannot overflow; its inverse is the smallest."""
PRECISE = 2.0**-9
"""Squared distances above this multiple of the points' squared lengths are precise to about 1e-4 in float32."""
PRECISE_IN_FLOAT64 = 2.0**-36
"""As `PRECISE`, in float64."""
SMALL = 1e-140
"""Smallest length whose square is precise in float64."""


def power_of_two(x: Tensor) -> Tensor:
    """The largest power of two that is at most each number, float64; 1 for 0. A division by it does not round."""
    x = x.double()
    mantissa, _ = torch.frexp(x)  # in [0.5, 1)
    return torch.where(x == 0, 1.0, x / (2 * mantissa))


def largest_magnitudes(rows: Rows) -> Tensor:
    """Largest absolute value of each feature, float64 ``(d,)``, the same in every process."""
    largest = torch.zeros(rows.dim, dtype=torch.float64, device=rows.device)
    for x, _ in rows.blocks():
        largest = torch.maximum(largest, x.abs().amax(0))
    return -all_reduce_min(-largest)


def unit_vectors(x: Tensor) -> Tensor:
    """Rows of ``(n, d)`` scaled to length 1, in float64; a zero row stays zero."""
    norm = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float64)
    if x.dtype == torch.float64 and (norm < SMALL).any():  # the squares may be rounded to 0
        largest = x.abs().amax(1, keepdim=True)
        x = x / torch.where(largest == 0, 1, largest)
        norm = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return x / torch.where(norm == 0, 1, norm)


@dataclass(frozen=True)
class Points:
    """Map of features ``(n, d)`` to points ``(x - origin) / unit``.

    Origin and unit are computed from evenly spaced rows, the same in every process. The origin is 0 unless the features
    are far from 0. Otherwise it is their mean, rounded to a multiple of the unit. The unit is the power of two below
    the standard deviation, so that features that are whole numbers become points without rounding errors.

    Attributes:
        spherical: whether features are first scaled to length 1.
        origin: float64 ``(d,)``; None if it is 0.
        unit: a power of two.
    """

    spherical: bool
    origin: Tensor | None
    unit: float

    @classmethod
    def of(cls, parts: Sequence[Rows], *, spherical: bool) -> "Points":
        """Points of features in one or more parts."""
        counts = [min(len(part), SAMPLE) for part in parts]
        x = torch.cat([p.take(torch.arange(n) * len(p) // n) for p, n in zip(parts, counts, strict=True) if n]).double()
        if spherical:
            x = unit_vectors(x)
        scale = 2.0 ** math.frexp(float(x.abs().max()))[1]  # so that no square is rounded to 0
        x /= scale
        mean = x.mean(0)
        variance = (x - mean).square_().mean(0).sum()
        size = float(variance / len(mean)) or float(x.square().mean()) or 1.0
        unit = 2.0 ** math.floor(math.log2(size) / 2)
        far = bool(mean.square().sum() > FAR * variance)
        return cls(spherical, (mean / unit).round() * unit * scale if far else None, unit * scale)

    def __call__(self, x: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        """Points ``(n, d)`` of features ``(n, d)``, computed in float64 and rounded to `dtype`."""
        if self.spherical:
            x = unit_vectors(x)
        if self.origin is None:  # division by a power of two does not round
            return x.to(dtype) / self.unit
        return (x - self.origin).div_(self.unit).to(dtype)

    def to_sphere(self, points: Tensor) -> Tensor:
        """Points ``(..., d)`` of the unit vectors in the directions of given spherical points ``(..., d)``."""
        origin = 0 if self.origin is None else self.origin
        return (F.normalize(points.double() * self.unit + origin, dim=-1) - origin) / self.unit
