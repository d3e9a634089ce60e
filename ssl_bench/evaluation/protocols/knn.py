"""k-nearest-neighbour vote, cosine and Euclidean (Wu et al. 2018, arXiv 1805.01978)."""

import warnings
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ssl_bench.errors import UserError
from ssl_bench.evaluation.neighbours import Distance, Neighbours, search
from ssl_bench.evaluation.notes import ProtocolNote
from ssl_bench.evaluation.task import Task, accuracy
from ssl_bench.ranges import PositiveFloat, PositiveInt, check_ranges

Weights = Literal["uniform", "exponential"]

VOTES = 2**20
"""Number of votes in memory at a time: 8 MiB."""


def vote(labels: Tensor, num_classes: int, weights: Tensor | None = None) -> Tensor:
    """Class with the most votes among the neighbours; ties go to the class with the nearest member.

    In scikit-learn, ties go to the smaller class number.

    Args:
        labels: labels of the neighbours, nearest first, int64 ``(Q, k, T)`` in [0, C) for T targets.
        num_classes: number of classes, C.
        weights: weights of the votes ``(Q, k)`` in [0, 1], rounded to multiples of 2^-40 so that sums do not depend on
            their order; None for one vote per neighbour.

    Returns:
        Classes, int64 ``(Q, T)``.
    """
    votes = torch.ones_like(labels)
    if weights is not None:
        votes = (weights.double() * 2**40).round().long().unsqueeze(2).expand_as(labels)
    counts = labels.new_zeros(len(labels), num_classes, labels.shape[2]).scatter_add_(1, labels, votes)
    winner = counts.gather(1, labels).argmax(1, keepdim=True)  # argmax returns the first maximum
    return labels.gather(1, winner).squeeze(1)


@check_ranges
@dataclass(frozen=True)
class KNN:
    """k-nearest-neighbour classifier of the test images, with the train and validation images as neighbours.

    Features are used as they are, without centring. Ties go to the class with the nearest member. Among equally near
    images, train images come before validation images, each in the order of the split. All values of k are reported;
    none is selected on validation. Values larger than the number of images are left out with a `ProtocolNote`.

    Args:
        k: numbers of neighbours, each with its own metric ``knn_<k>``. All use the same neighbour search.
        distances: one or both of ``cosine`` and ``euclidean``.
        weights: one or both of ``uniform``, one vote per neighbour, and ``exponential``, votes weighted by exp(cosine
            similarity / temperature). Exponential weights are computed for cosine similarity only, since no single
            temperature fits all scales of Euclidean distances.
        temperature: temperature of exponential weights.
    """

    k: tuple[PositiveInt, ...] = (1, 5, 20, 200)
    distances: tuple[Distance, ...] = ("cosine", "euclidean")
    weights: tuple[Weights, ...] = ("uniform",)
    temperature: PositiveFloat = 0.07

    def __post_init__(self) -> None:
        for name in ("k", "distances", "weights"):
            if not getattr(self, name):
                raise UserError(f"knn: {name} must be one or more values, got none")
        if "cosine" not in self.distances and "uniform" not in self.weights:
            raise UserError("knn: exponential weights need cosine similarity; add cosine to the distances")

    def __call__(self, task: Task) -> list[dict[str, float]]:
        """``knn_<k>[_euclidean][_exponential]/accuracy`` in percent on test, for each target.

        Raises:
            UserError: all values of k are larger than the number of train and validation images.
        """
        size = sum(map(len, task.fitting))
        fitting = [k for k in self.k if k <= size]
        large = ", ".join(str(k) for k in self.k if k > size)
        if not fitting:
            raise UserError(
                f"knn: k = {large} neighbours of a bank of {size} labelled images; give a k of at most {size}"
            )
        if large:
            warnings.warn(
                f"knn: k = {large} left out, because the bank has {size} labelled images", ProtocolNote, stacklevel=2
            )
        metrics: list[dict[str, float]] = [{} for _ in range(task.num_targets)]
        for distance, found in self.neighbours(task).items():
            for weights in self.weights:
                if (distance, weights) == ("euclidean", "exponential"):
                    continue
                suffix = "_euclidean" * (distance == "euclidean") + "_exponential" * (weights == "exponential")
                for k in fitting:
                    predicted = self.predict(found, k, weights, task)
                    for of_target, value in zip(metrics, accuracy(predicted, task.test.y), strict=True):
                        of_target[f"knn_{k}{suffix}/accuracy"] = value
        return metrics

    def neighbours(self, task: Task) -> dict[Distance, Neighbours]:
        """As many neighbours of all test images as are used, for each distance, computed once for all protocols."""
        size = sum(map(len, task.fitting))
        most = max(k for k in self.k if k <= size)
        return task.once(
            f"neighbours {most} {self.distances}", lambda: search(task.fitting, task.test, most, self.distances)
        )

    def predict(self, found: Neighbours, k: int, weights: Weights, task: Task) -> Tensor:
        """Predicted classes ``(Q, T)`` of all test images.

        Args:
            found: neighbours of the test images, at least k each.
            k: number of neighbours that vote.
            weights: weighting of the votes.
            task: the task.
        """
        labels = torch.cat([rows.y for rows in task.fitting])
        step = max(1, VOTES // (labels.shape[1] * max(k, task.num_classes)))
        predicted = []
        for start in range(0, len(task.test), step):
            part = slice(start, start + step)
            weight = None
            if weights == "exponential":
                similarity = 1 - found.distance[part, :k].square() / 2
                weight = ((similarity - similarity[:, :1]) / self.temperature).exp()
            predicted.append(vote(labels[found.row[part, :k]], task.num_classes, weight))
        return torch.cat(predicted)
