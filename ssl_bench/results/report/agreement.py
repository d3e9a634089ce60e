"""Agreement between protocols: rank correlation of their scores over the methods on a data set."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST = 4
"""Least number of methods for a correlation: with three, it can only be -1, -0.5, 0.5 or 1 without ties."""


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation of two metrics.

    Attributes:
        rho: the correlation; None if fewer than `LEAST` methods have both metrics, or all scores of one are equal.
        n: number of methods that have both metrics.
    """

    rho: float | None
    n: int


def spearman(first: list[float], second: list[float]) -> Correlation:
    """Spearman's rank correlation of two lists of scores; pairs with NaN are left out, ties have their mean rank.

    Example:
        >>> spearman([1, 2, 3, 4], [10, 20, 40, 30])
        Correlation(rho=0.8, n=4)
    """
    pairs = np.array([first, second], dtype=float)
    pairs = pairs[:, np.isfinite(pairs).all(0)]
    n = pairs.shape[1]
    if n < LEAST:
        return Correlation(None, n)
    x, y = (ranks - ranks.mean() for ranks in map(_ranks, pairs))
    norm = float(np.sqrt((x @ x) * (y @ y)))
    return Correlation(round(float(x @ y) / norm, 12) if norm else None, n)


def agreement(scores: Mapping[str, list[float]]) -> list[list[Correlation]]:
    """Rank correlations of all pairs of metrics, in the order of the metrics.

    Args:
        scores: scores of the methods by metric, NaN where missing; all lists have the order of the methods.
    """
    return [[spearman(first, second) for second in scores.values()] for first in scores.values()]


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1, ties with the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    ranks: NDArray[np.float64] = (last - (counts - 1) / 2)[inverse]
    return ranks
