"""k nearest neighbours: exact, cosine and Euclidean, uniform and exponential votes (Wu 2018, arXiv 1805.01978)."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ssl_bench.errors import UserError
from ssl_bench.evaluation.neighbours import Distance, Neighbours, search
from ssl_bench.evaluation.task import Task, accuracy

Weights = Literal["uniform", "exponential"]

VOTES = 2**20
"""Votes held at a time: 8 MiB."""


def vote(labels: Tensor, num_classes: int, weights: Tensor | None = None) -> Tensor:
    """Class with the most votes among neighbours, nearest first; ties go to the class with the nearer member.

    (scikit-learn's go to the smaller class number.)

    Args:
        labels: int64 ``(Q, k, T)`` in [0, C) for T targets.
        num_classes: C.
        weights: ``(Q, k)`` in [0, 1], counted to 2^-40 so that sums do not depend on their order; None for 1 each.

    Returns:
        int64 ``(Q, T)``.
    """
    votes = torch.ones_like(labels)
    if weights is not None:
        votes = (weights.double() * 2**40).round().long().unsqueeze(2).expand_as(labels)
    counts = labels.new_zeros(len(labels), num_classes, labels.shape[2]).scatter_add_(1, labels, votes)
    winner = counts.gather(1, labels).argmax(1, keepdim=True)  # argmax returns the first maximum
    return labels.gather(1, winner).squeeze(1)


@dataclass(frozen=True)
class KNN:
    """Test images take the class with the most votes among their k nearest of the train and validation images.

    Features are taken raw, not centred. Ties go to the class with the nearer member, and of equally near images the
    first in train, then in validation, is nearer. Every k is reported and none is chosen: ``knn_5``,
    ``knn_5_euclidean``, ``knn_5_exponential``.

    Args:
        k: numbers of neighbours, each scored as ``knn_<k>``; one search serves them all.
        distances: what to be near in.
        weights: one vote each, or exp(cosine similarity / temperature); the latter for cosine only, as Euclidean
            distance has no scale that one temperature would suit.
        temperature: of exponential weights.
    """

    k: tuple[int, ...] = (1, 5, 20, 200)
    distances: tuple[Distance, ...] = ("cosine", "euclidean")
    weights: tuple[Weights, ...] = ("uniform",)
    temperature: float = 0.07

    def __post_init__(self) -> None:
        if not self.k or min(self.k) < 1:
            raise UserError(f"knn: k = {list(self.k)}; give one or more numbers of neighbours, each at least 1")
        for name, given, known in (("distances", self.distances, Distance), ("weights", self.weights, Weights)):
            if not given or not set(given) <= set(get_args(known)):
                raise UserError(f"knn: {name} = {list(given)}; give one or more of {', '.join(get_args(known))}")
        if "cosine" not in self.distances and "uniform" not in self.weights:
            raise UserError("knn: exponential weights are of cosine similarity; add cosine to the distances")
        if not self.temperature > 0:
            raise UserError(f"knn: temperature = {self.temperature}; give a number above 0")

    def __call__(self, task: Task) -> list[dict[str, float]]:
        """``knn_<k>[_euclidean][_exponential]/accuracy`` in percent of each target.

        Raises:
            UserError: if some k is larger than the bank.
        """
        size = sum(map(len, task.fitting))
        if max(self.k) > size:
            large = ", ".join(str(k) for k in self.k if k > size)
            raise UserError(
                f"knn: k = {large} neighbours of a bank of {size} labelled images; give a k of at most {size}"
            )
        labels = torch.cat([rows.y for rows in task.fitting])
        figures: list[dict[str, float]] = [{} for _ in range(task.num_targets)]
        for distance, found in search(task.fitting, task.test, max(self.k), self.distances).items():
            for weights in self.weights:
                if (distance, weights) == ("euclidean", "exponential"):
                    continue
                suffix = "_euclidean" * (distance == "euclidean") + "_exponential" * (weights == "exponential")
                for k in self.k:
                    predicted = self.predict(found, k, labels, weights, task)
                    for figure, value in zip(figures, accuracy(predicted, task.test.y), strict=True):
                        figure[f"knn_{k}{suffix}/accuracy"] = value
        return figures

    def predict(self, found: Neighbours, k: int, labels: Tensor, weights: Weights, task: Task) -> Tensor:
        """Classes ``(Q, T)`` of all queries, by the ``labels`` ``(N, T)`` of the bank."""
        step = max(1, VOTES // (labels.shape[1] * max(k, task.num_classes)))
        predicted = []
        for start in range(0, len(task.test), step):
            part = slice(start, start + step)
            weight = None
            if weights == "exponential":
                norm = task.test.take(part).norm(dim=1, keepdim=True).clamp_min(1e-12)
                similarity = found.score[part, :k] / norm
                weight = ((similarity - similarity[:, :1]).double() / self.temperature).exp()
            predicted.append(vote(labels[found.row[part, :k]], task.num_classes, weight))
        return torch.cat(predicted)
