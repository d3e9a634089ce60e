"""Overall ranking of methods: mean rank and Borda count over tasks, with a bootstrap interval."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Scores = Mapping[str, Mapping[str, Mapping[str, list[float]]]]
"""Scores by method, data set and metric: one value per seed, in the order of the seeds; NaN where it is missing."""
Task = tuple[str, str]
"""A data set and a metric."""
DECIMALS = 9
"""Decimals in which scores are compared."""
CHUNK = 100
"""Bootstrap samples that are ranked at a time, which limits the memory."""


@dataclass(frozen=True)
class Ranked:
    """A method in the ranking.

    Attributes:
        method: name of the method.
        mean_rank: mean over tasks of the rank; the best method of a task has rank 1, and ties share the mean of ranks.
        low: 2.5th percentile of the mean rank over bootstrap samples; None if there is one task, and one seed of each
            method.
        high: 97.5th percentile; None likewise.
        borda: number of methods with a lower score, summed over tasks; a tie counts half.
    """

    method: str
    mean_rank: float
    low: float | None
    high: float | None
    borda: float


@dataclass(frozen=True)
class Ranking:
    """Methods that have scores in all tasks, lowest mean rank first, and methods that do not.

    Attributes:
        tasks: data sets and metrics for which at least two methods have a score.
        ranked: methods with scores in all tasks.
        missing: for each other method, the tasks without a score.
    """

    tasks: list[Task] = field(default_factory=list)
    ranked: list[Ranked] = field(default_factory=list)
    missing: dict[str, list[Task]] = field(default_factory=dict)


def rank(scores: Scores, samples: int = 1000, seed: int = 0) -> Ranking:
    """Rank methods over tasks; higher scores are better.

    Seeds are averaged within a task first, so that tasks with more seeds do not count more. A bootstrap sample draws
    tasks with replacement and, independently for each method and data set, seeds with replacement. The scores of one
    seed on a data set stay together, because they are of one encoder.

    Args:
        scores: scores of each method.
        samples: number of bootstrap samples.
        seed: seed of the bootstrap.

    Returns:
        The ranking, without ranked methods if fewer than two have scores in all tasks.

    Example:
        >>> digits = {"svm/accuracy": [90.0, 92.0], "knn_5/accuracy": [80.0, 80.0]}
        >>> found = rank({"a": {"digits": digits}, "b": {"digits": {"svm/accuracy": [95.0], "knn_5/accuracy": [80.0]}}})
        >>> [(one.method, one.mean_rank, one.borda) for one in found.ranked]
        [('b', 1.25, 1.5), ('a', 1.75, 0.5)]
    """
    known = {
        method: {
            (data, metric)
            for data, metrics in of_method.items()
            for metric, values in metrics.items()
            if np.isfinite(values).any()
        }
        for method, of_method in scores.items()
    }
    every = dict.fromkeys((d, m) for one in scores.values() for d, metrics in one.items() for m in metrics)
    tasks = [task for task in every if sum(task in found for found in known.values()) >= 2]
    missing = {method: [task for task in tasks if task not in found] for method, found in known.items()}
    methods = [method for method, lacking in missing.items() if not lacking]
    missing = {method: lacking for method, lacking in missing.items() if lacking}
    if len(methods) < 2 or not tasks:
        return Ranking(tasks, [], missing)
    means = np.array([[np.nanmean(scores[method][data][metric]) for data, metric in tasks] for method in methods])
    ranks = average_ranks(means[None])[0]
    borda = (len(methods) - ranks).sum(1)
    seeds = max(len(scores[method][data][metric]) for method in methods for data, metric in tasks)
    bounds = np.percentile(_bootstrap(scores, methods, tasks, samples, seed), (2.5, 97.5), axis=0).T
    varies = len(tasks) * seeds > 1
    ranked = [
        Ranked(method, float(one), float(low) if varies else None, float(high) if varies else None, float(count))
        for method, one, (low, high), count in zip(methods, ranks.mean(1), bounds, borda, strict=True)
    ]
    return Ranking(tasks, sorted(ranked, key=lambda one: one.mean_rank), missing)


def average_ranks(scores: Array) -> Array:
    """Ranks of methods in each task, 1 for the highest score; ties have the mean of their ranks.

    Scores that differ by rounding, because their seeds were added in another order, are ties.

    Args:
        scores: ``(samples, methods, tasks)``.

    Returns:
        Ranks of the same shape.
    """
    scores = scores.round(DECIMALS)
    higher = (scores[:, None] > scores[:, :, None]).sum(2)
    equal = (scores[:, None] == scores[:, :, None]).sum(2) - 1
    ranks: Array = 1 + higher + equal / 2
    return ranks


def _bootstrap(scores: Scores, methods: list[str], tasks: list[Task], samples: int, seed: int) -> Array:
    """Mean ranks ``(samples, methods)`` in bootstrap samples of tasks and seeds."""
    generator = np.random.default_rng(seed)
    places: dict[str, list[int]] = {}
    for place, (data, _) in enumerate(tasks):
        places.setdefault(data, []).append(place)
    drawn = np.empty((samples, len(methods), len(tasks)))
    for row, method in enumerate(methods):
        for data, columns in places.items():
            values = np.array([scores[method][data][tasks[place][1]] for place in columns]).T
            picks = generator.integers(len(values), size=(samples, len(values)))
            there = np.isfinite(values)
            count = there[picks].sum(1)
            total = np.where(there, values, 0)[picks].sum(1)
            # A sample in which every picked seed lacks the metric has the mean of the seeds that have it.
            drawn[:, row, columns] = np.where(count, total / np.maximum(count, 1), np.nanmean(values, 0))
    chosen = generator.integers(len(tasks), size=(samples, len(tasks)))
    resampled = np.take_along_axis(drawn, chosen[:, None, :], 2)
    parts = [average_ranks(resampled[at : at + CHUNK]).mean(2) for at in range(0, samples, CHUNK)]
    return np.concatenate(parts)
