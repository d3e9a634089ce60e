"""Rank correlations of protocols, against scipy."""

import random

import pytest
from scipy.stats import spearmanr

from ssl_bench.results.report.agreement import Correlation, agreement, spearman


@pytest.mark.parametrize("ties", [False, True])
def test_the_correlation_is_that_of_scipy(ties: bool) -> None:
    generator = random.Random(0)
    x, y = ([generator.randrange(4) if ties else generator.random() for _ in range(30)] for _ in range(2))
    found = spearman(x, y)
    assert found.n == 30
    assert found.rho == pytest.approx(spearmanr(x, y).statistic)


def test_settings_that_lack_a_metric_are_left_out() -> None:
    nan = float("nan")
    assert spearman([1, 2, nan, 3, 4], [4, 3, 9, 2, 1]) == Correlation(-1.0, 4)


@pytest.mark.parametrize(("x", "n"), [([1.0, 2.0, 3.0], 3), ([5.0] * 6, 6), ([], 0)])
def test_few_settings_or_equal_scores_have_no_correlation(x: list[float], n: int) -> None:
    assert spearman(x, list(range(n))) == Correlation(None, n)


def test_the_matrix_is_symmetric_with_ones() -> None:
    found = agreement({"a": [1, 2, 3, 4], "b": [1, 3, 2, 4], "c": [4, 3, 2, 1]})
    assert [[one.rho for one in row] for row in found] == [[1, 0.8, -1], [0.8, 1, -0.8], [-1, -0.8, 1]]
