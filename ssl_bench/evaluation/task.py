"""What the protocols that need labels are given: three splits of rows with the labels of alike targets."""

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
        deviation: ``(d,)``, standard deviations; 1 where a feature is constant, so that it can be divided by.
        correlation: ``(d, d)``, second moment of the features standardised by these.
    """

    mean: Tensor
    deviation: Tensor
    correlation: Tensor


@dataclass(frozen=True)
class Task:
    """T targets of C classes each, on the images that have a label for all of them.

    Targets are scored together because that is one pass over the features; each is scored as if alone.

    Attributes:
        train: features ``(N, d)`` and labels ``(N, T)`` in ``[0, C)``; ``validation`` and ``test`` are alike.
        num_classes: C, whether or not each of them occurs.
        shared: what :meth:`once` has kept.
        augmented: for every pass over augmented images that was asked for, its train and validation rows, with the
            images and labels of ``train`` and ``validation`` in the same order.
        layers: the same task on the features of each layer of the encoder, the first one's first.
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
        """What a classifier is fitted on once its settings are chosen: train, then validation."""
        return self.train, self.validation

    @property
    def device(self) -> torch.device:
        """Where the task is computed on."""
        return self.train.device

    def once(self, name: str, compute: Callable[[], T]) -> T:
        """``compute()``, done once for all protocols on the same images, so it must read features and no labels."""
        if name not in self.shared:
            self.shared[name] = compute()
        result: T = self.shared[name]
        return result

    def moments(self) -> Moments:
        """Moments of the train split's features."""

        def compute() -> Moments:
            # About the first row and not about 0: float32 products of features far from 0 would lose the variance.
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
            # A constant's computed deviation is rounding error, not 0.
            deviation[deviation <= 1e-6 * mean.abs()] = 1
            return Moments(mean, deviation, covariance / torch.outer(deviation, deviation))

        return self.once("moments", compute)


class LabelledProtocol(Protocol):
    """A way to score features by labels: a frozen dataclass of its settings that maps a task to named figures.

    Where nobody has chosen protocols it is computed, unless it has `applies` as label-free ones do, which then decides.
    """

    def __call__(self, task: Task) -> list[dict[str, float]]:
        """Figures of each target by name, ``<protocol>/<figure>``; accuracies in percent. The same in every process."""
        ...


def accuracy(predicted: Tensor, labels: Tensor) -> list[float]:
    """Percentage of ``predicted`` ``(N, T)`` that equal ``labels`` ``(N, T)``, for each of the T targets."""
    values: list[float] = (100 * (predicted == labels).double().mean(0)).tolist()
    return values
