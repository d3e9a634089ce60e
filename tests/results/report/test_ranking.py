"""Mean rank, Borda count and their bootstrap, against hand-computed values and an independent bootstrap."""

import random
import statistics

import numpy as np
import pytest

from ssl_bench.results.report.ranking import Scores, average_ranks, rank

NAN = float("nan")


def test_ties_and_a_missing_cell() -> None:
    scores = {
        "a": {"digits": {"svm": [90.0], "knn": [80.0], "gmm": [70.0]}},
        "b": {"digits": {"svm": [95.0], "knn": [80.0], "gmm": [60.0]}},
        "c": {"digits": {"svm": [85.0], "knn": [70.0], "gmm": [65.0]}},
        "d": {"digits": {"svm": [99.0], "knn": [99.0], "gmm": [NAN]}},
    }
    found = rank(scores)
    assert found.tasks == [("digits", "svm"), ("digits", "knn"), ("digits", "gmm")]
    assert found.missing == {"d": [("digits", "gmm")]}
    # svm: b 1, a 2, c 3.  knn: a and b 1.5, c 3.  gmm: a 1, c 2, b 3.
    ranks = {one.method: one.mean_rank for one in found.ranked}
    assert ranks == pytest.approx({"a": (2 + 1.5 + 1) / 3, "b": (1 + 1.5 + 3) / 3, "c": (3 + 3 + 2) / 3})
    # Wins, ties counted half.  a: c, b (half), c, b, c.  b: a, c, a (half), c.  c: b.
    assert {one.method: one.borda for one in found.ranked} == {"a": 1 + 1.5 + 2, "b": 2 + 1.5 + 0, "c": 0 + 0 + 1}
    assert [one.method for one in found.ranked] == ["a", "b", "c"]


def test_seeds_are_averaged_within_a_task_first() -> None:
    """Averaged over all values, b would be better, because it has more seeds where it is good."""
    scores = {
        "a": {"x": {"svm": [60.0, 60.0]}, "y": {"svm": [60.0]}},
        "b": {"x": {"svm": [61.0] * 9}, "y": {"svm": [10.0]}},
    }
    assert [one.mean_rank for one in rank(scores).ranked] == [1.5, 1.5]


def test_a_task_of_one_method_alone_is_no_task() -> None:
    scores = {"a": {"x": {"svm": [1.0], "knn": [1.0]}}, "b": {"x": {"svm": [2.0]}}}
    found = rank(scores)
    assert found.tasks == [("x", "svm")]
    assert [one.method for one in found.ranked] == ["b", "a"]


@pytest.mark.parametrize(
    "scores", [{}, {"a": {"x": {"svm": [1.0]}}}, {"a": {"x": {"k": [1.0]}}, "b": {"y": {"k": [1.0]}}}]
)
def test_nothing_is_ranked_without_two_methods_on_common_tasks(scores: Scores) -> None:
    assert rank(scores).ranked == []


def test_a_better_method_on_every_seed_and_task_has_an_interval_of_one_rank() -> None:
    scores = {
        name: {"x": {"svm": [base, base + 1], "knn": [base, base + 1]}} for name, base in (("a", 50.0), ("b", 10.0))
    }
    assert [(one.low, one.high) for one in rank(scores).ranked] == [(1, 1), (2, 2)]


def test_one_task_and_one_seed_have_no_interval() -> None:
    found = rank({"a": {"x": {"svm": [1.0]}}, "b": {"x": {"svm": [2.0]}}})
    assert [(one.low, one.high) for one in found.ranked] == [(None, None)] * 2


def test_the_same_values_in_another_order_are_a_tie() -> None:
    values = [0.1, 0.2, 0.3]
    assert sum(values) != sum(reversed(values))
    found = rank({"a": {"x": {"svm": values}}, "b": {"x": {"svm": values[::-1]}}})
    assert [one.mean_rank for one in found.ranked] == [1.5, 1.5]


def test_the_intervals_are_reproducible() -> None:
    assert rank(_noisy()) == rank(_noisy())


def _noisy() -> dict[str, dict[str, dict[str, list[float]]]]:
    generator = random.Random(0)
    return {
        f"m{m}": {
            data: {metric: [50 + m + generator.gauss(0, 3) for _ in range(seeds)] for metric in ("svm", "knn", "gmm")}
            for data, seeds in (("x", 3), ("y", 2))
        }
        for m in range(4)
    }


def test_intervals_equal_those_of_an_independent_bootstrap() -> None:
    scores = _noisy()
    methods = list(scores)
    tasks = [(data, metric) for data in ("x", "y") for metric in ("svm", "knn", "gmm")]
    generator = random.Random(1)
    samples: dict[str, list[float]] = {method: [] for method in methods}
    for _ in range(4000):
        picks = {
            (method, data): [generator.randrange(seeds) for _ in range(seeds)]
            for method in methods
            for data, seeds in (("x", 3), ("y", 2))
        }
        ranks: dict[str, list[float]] = {method: [] for method in methods}
        for data, metric in generator.choices(tasks, k=len(tasks)):
            means = {
                method: statistics.fmean(scores[method][data][metric][i] for i in picks[method, data])
                for method in methods
            }
            for method in methods:
                above = sum(mean > means[method] for mean in means.values())
                equal = sum(mean == means[method] for mean in means.values()) - 1
                ranks[method].append(1 + above + equal / 2)
        for method in methods:
            samples[method].append(statistics.fmean(ranks[method]))
    for one in rank(scores, samples=4000).ranked:
        quantiles = statistics.quantiles(samples[one.method], n=40, method="inclusive")
        assert one.low == pytest.approx(quantiles[0], abs=0.17)  # a mean rank of 6 tasks has steps of 1/6
        assert one.high == pytest.approx(quantiles[-1], abs=0.17)
        assert one.low is not None
        assert one.high is not None
        assert one.low <= one.mean_rank <= one.high


def test_a_seed_that_lacks_a_metric_does_not_change_the_others() -> None:
    scores = {"a": {"x": {"svm": [1.0, NAN], "knn": [5.0, 5.0]}}, "b": {"x": {"svm": [2.0, 2.0], "knn": [4.0, 4.0]}}}
    found = rank(scores)
    assert {one.method: (one.mean_rank, one.borda) for one in found.ranked} == {"a": (1.5, 1), "b": (1.5, 1)}


def test_ranks_are_those_of_scipy() -> None:
    from scipy.stats import rankdata

    scores = np.random.default_rng(0).integers(0, 5, size=(3, 6, 4)).astype(float)
    assert np.array_equal(average_ranks(scores), rankdata(-scores, axis=1))
