"""Task: three splits of features with labels, the input of the protocols that need labels."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from ssl_bench.distributed import all_reduce_sum
from ssl_bench.evaluation.rows import Rows

T = TypeVar("T")


class Moments(NamedTuple):
    """Moments of the train split's features, float64, the same in every process.

    Attributes:
        mean: ``(d,)``.
        deviation: ``(d,)``, standard deviations; 1 if a feature is constant, so that division is possible.
        correlation: ``(d, d)``, second moment of the standardised features.
    """

    mean: Tensor
    deviation: Tensor
    correlation: Tensor


@dataclass(frozen=True)
class Task:
    """T targets with C classes each, on the images that have a label for all of them.

    Targets are scored together because this takes one pass over the features; the score of each is independent of the
    others.

    Attributes:
        train: features ``(N, d)`` and labels ``(N, T)`` in ``[0, C)``.
        validation: the same for validation.
        test: the same for test.
        num_classes: C, including classes that do not occur.
        shared: cache of :meth:`once`.
        augmented: train and validation rows of each augmented pass, with the images and labels of ``train`` and
            ``validation`` in the same order.
        layers: the same task on the features of each layer of the encoder, first layer first.
    """

    train: Rows
    validation: Rows
    test: Rows
    num_classes: int
    shared: dict[str, Any] = field(default_factory=dict)
    augmented: tuple[tuple[Rows, Rows], ...] = ()
    layers: tuple["Task", ...] = ()

    @property
    def num_targets(self) -> int:
        """T."""
        return self.train.y.shape[1]

    @property
    def fitting(self) -> tuple[Rows, Rows]:
        """Splits to refit a classifier on once its settings are chosen: train, then validation."""
        return self.train, self.validation

    @property
    def device(self) -> torch.device:
        """Device of the computations."""
        return self.train.device

    def once(self, name: str, compute: Callable[[], T]) -> T:
        """Result of ``compute()``, cached for all protocols on the same images; it must not depend on labels."""
        if name not in self.shared:
            self.shared[name] = compute()
        result: T = self.shared[name]
        return result

    def moments(self) -> Moments:
        """Moments of the train split's features."""

        def compute() -> Moments:
            # Relative to the first row: float32 products of features far from 0 would lose the variance.
            origin = self.train.take(slice(1))[0]
            dim = self.train.dim
            total = torch.zeros(dim, dtype=torch.float64, device=self.device)
            square = torch.zeros(dim, dim, dtype=torch.float64, device=self.device)
            for x, _ in self.train.blocks():
                centred = x - origin
                total += centred.sum(0, dtype=torch.float64)
                square += centred.T @ centred
            n = len(self.train)
            shift = all_reduce_sum(total) / n
            covariance = all_reduce_sum(square) / n - torch.outer(shift, shift)
            mean = origin.double() + shift
            deviation = covariance.diagonal().clamp_min(0).sqrt()
            # The computed deviation of a constant feature is rounding error, not 0.
            deviation[deviation <= 1e-6 * mean.abs()] = 1
            return Moments(mean, deviation, covariance / torch.outer(deviation, deviation))

        return self.once("moments", compute)


class LabelledProtocol(Protocol):
    """Interface of protocols that need labels: a frozen dataclass of settings that maps a task to metrics.

    It runs by default, unless it has a method `runs_by_default` like label-free protocols, which then decides.
    """

    def __call__(self, task: Task) -> list[dict[str, float]]:
        """Metrics of each target by name, ``<protocol>/<metric>``, the same in every process; accuracies in percent."""
        ...


def accuracy(predicted: Tensor, labels: Tensor) -> list[float]:
    """Percentage of ``predicted`` ``(N, T)`` that equal ``labels`` ``(N, T)``, for each of the T targets."""
    values: list[float] = (100 * (predicted == labels).double().mean(0)).tolist()
    return values
