"""Choose the regularisation of a linear classifier on validation, refit it on train + validation, score it on test."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_bench.distributed import all_reduce_sum
from ssl_bench.evaluation.coordinates import Standardised
from ssl_bench.evaluation.rows import Rows
from ssl_bench.evaluation.task import Task

Fit = Callable[[Sequence[Rows], Tensor, Tensor | None], Tensor]
"""Function of splits to fit on, regularisation ``(G, T)`` and initial weights ``(G, T, C, d + 1)`` (or None) that
returns weights ``(G, T, C, d + 1)``."""


class Chosen(NamedTuple):
    """The chosen regularisation of one target.

    Attributes:
        accuracy: accuracy on test of the refitted classifier, in percent.
        regularisation: the element of the grid.
        validation: accuracy on validation of the classifier that was fitted on train, in percent.
    """

    accuracy: float
    regularisation: float
    validation: float


def choose_and_score(task: Task, grid: Sequence[float], fit: Fit) -> list[Chosen]:
    """Fit all regularisations of the grid on train, choose one on validation, refit, and score on test.

    Args:
        task: task with T targets.
        grid: regularisations, strongest first; if validation accuracies are equal, the first is chosen.
        fit: see :data:`Fit`.

    Returns:
        The choice for each target.
    """
    train = (task.train,)
    every = torch.tensor(grid, dtype=torch.float64, device=task.device)[:, None].expand(-1, task.num_targets)
    weights = fit(train, every, None)
    on_validation = accuracy(task, task.validation, weights, class_counts(train, task.num_classes) > 0)
    best = on_validation.argmax(0)
    target = torch.arange(task.num_targets, device=task.device)
    chosen = every[best, target]
    weights = fit(task.fitting, chosen[None], weights[best, target][None])
    test = accuracy(task, task.test, weights, class_counts(task.fitting, task.num_classes) > 0)[0]
    columns = test, chosen, on_validation[best, target]
    return [Chosen(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def class_counts(splits: Sequence[Rows], classes: int) -> Tensor:
    """Number of rows of each class, int64 ``(T, classes)``."""
    y = torch.cat([rows.y for rows in splits])
    counts = torch.zeros(y.shape[1], classes, dtype=torch.int64, device=y.device)
    return counts.scatter_add_(1, y.T, torch.ones_like(y.T))


def accuracy(task: Task, rows: Rows, weights: Tensor, allowed: Tensor) -> Tensor:
    """Percentage of rows whose class has the largest output.

    Args:
        task: task whose train split gives the standardisation.
        rows: rows to classify.
        weights: ``(G, T, C, d + 1)``, as returned by :func:`.linear.fit`.
        allowed: bool ``(T, C)``, classes that may be predicted.

    Returns:
        Percentages, float64 ``(G, T)``.
    """
    standardised = Standardised.of(task)
    grid, targets, classes, _ = weights.shape
    flat = weights.flatten(1, 2).float()
    correct = torch.zeros(grid, targets, dtype=torch.float64, device=weights.device)
    for x, y in rows.exact().blocks():
        z = standardised(x)
        for count, w in zip(correct, flat, strict=True):
            outputs = torch.addmm(w[:, -1:], w[:, :-1], z.T).view(targets, classes, -1)
            predicted = outputs.masked_fill_(~allowed[..., None], -torch.inf).argmax(1)
            count += (predicted == y.T).sum(1)
    return 100 * all_reduce_sum(correct) / len(rows)
