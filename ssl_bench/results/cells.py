"""Cells of tables: mean and standard error of a metric over seeds."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """One metric of one setting.

    Attributes:
        mean: mean over seeds.
        se: standard error of the mean, the sample standard deviation divided by the square root of n; None for one
            seed, and for values that are not finite.
        n: number of seeds that have the metric.
        best: whether the mean differs from the best mean for this target by at most one standard error of the
            difference. If one of the two has no standard error, only equal means are marked.
    """

    mean: float
    se: float | None = None
    n: int = 1
    best: bool = False


def average(values: Sequence[float]) -> Cell:
    """Mean and standard error of one metric over seeds."""
    n = len(values)
    if not all(map(math.isfinite, values)):  # which `statistics` refuses
        return Cell(sum(values) / n, None, n)
    return Cell(statistics.fmean(values), statistics.stdev(values) / math.sqrt(n) if n > 1 else None, n)


def is_best(cell: Cell, best: Cell) -> bool:
    """Whether a mean differs from the best by at most one standard error of their difference.

    The standard error of the difference of two independent means is the root of the sum of their squared standard
    errors.
    """
    if cell.se is None or best.se is None:
        return cell.mean == best.mean
    return abs(cell.mean - best.mean) <= math.hypot(cell.se, best.se)
