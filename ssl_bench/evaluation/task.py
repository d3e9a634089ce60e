"""Task: three splits of features with labels, the input of the protocols that need labels."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from ssl_bench.distributed import all_reduce_sum
from ssl_bench.evaluation.rows import Rows

T = TypeVar("T")


CONSTANT = {torch.float32: 1e-6, torch.float64: 1e-12}
"""Features are constant if their deviation, at most this fraction of their mean, is rounding error; by their type."""


class Scaling(NamedTuple):
    """Means and deviations of the train split's features, float64, the same in every process.

    Attributes:
        mean: means ``(d,)``.
        deviation: standard deviations ``(d,)``; 1 if a feature is constant, so that division is possible.
        varies: whether each feature is not constant, bool ``(d,)``.
    """

    mean: Tensor
    deviation: Tensor
    varies: Tensor

    @classmethod
    def of(cls, mean: Tensor, variance: Tensor, dtype: torch.dtype) -> "Scaling":
        """Scaling from means and variances, float64 ``(d,)``, of features of this type."""
        deviation = variance.clamp_min(0).sqrt()
        varies = deviation > CONSTANT[dtype] * mean.abs()
        return cls(mean, deviation.where(varies, 1.0), varies)


@dataclass(frozen=True)
class Task:
    """T targets with C classes each, restricted to the images that have a label for all T targets.

    Targets are scored together because this takes one pass over the features. The score of a target does not depend on
    the other targets.

    Attributes:
        train: features ``(N, d)`` and labels ``(N, T)`` in ``[0, C)``.
        validation: features and labels of the validation split.
        test: features and labels of the test split.
        num_classes: number of classes C, including classes that do not occur.
        shared: cache of :meth:`once`.
        augmented: for each augmented pass, the features of the images in ``train`` and in ``validation``, with the same
            labels and order.
        layers: for each layer of the encoder, the same task on the features of this layer, first layer first.
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
        """The train and validation splits, on which a classifier is refitted after its settings are chosen."""
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

    @property
    def wide(self) -> bool:
        """Whether train and validation have fewer images than features, so that solving in their span is faster."""
        return sum(map(len, self.fitting)) < self.train.dim

    def scaling(self) -> Scaling:
        """Means and deviations of the train split's features."""

        def compute() -> Scaling:
            if not self.wide:
                return self.moments()[0]
            train = self.train.exact()
            variance, mean = torch.var_mean(train.take(slice(None)).double(), 0, correction=0)
            return Scaling.of(mean, variance, train.dtype)

        return self.once("scaling", compute)

    def moments(self) -> tuple[Scaling, Tensor]:
        """Means and deviations of the train split's features, and second moments ``(d, d)`` of the scaled features."""

        def compute() -> tuple[Scaling, Tensor]:
            # Relative to the first row: float32 products of features far from 0 would lose the variance.
            train = self.train.exact()
            origin = train.take(slice(1))[0]
            total = torch.zeros(train.dim, dtype=torch.float64, device=self.device)
            square = torch.zeros(train.dim, train.dim, dtype=torch.float64, device=self.device)
            for x, _ in train.blocks():
                centred = (x - origin).float()
                total += centred.sum(0, dtype=torch.float64)
                square += centred.T @ centred
            n = len(train)
            shift = all_reduce_sum(total) / n
            covariance = all_reduce_sum(square) / n - torch.outer(shift, shift)
            scaling = Scaling.of(origin.double() + shift, covariance.diagonal(), train.dtype)
            return scaling, covariance / torch.outer(scaling.deviation, scaling.deviation)

        return self.once("moments", compute)


class LabelledProtocol(Protocol):
    """Interface of protocols that need labels: a frozen dataclass of settings that maps a task to metrics.

    The protocol runs by default. If it has a method `runs_by_default` like label-free protocols, it runs only if this
    method returns true or the protocol is listed by the user.
    """

    def __call__(self, task: Task) -> list[dict[str, float]]:
        """Metrics of each target by name, ``<protocol>/<metric>``, the same in every process; accuracies in percent."""
        ...


def accuracy(predicted: Tensor, labels: Tensor) -> list[float]:
    """Percentage of ``predicted`` ``(N, T)`` that equal ``labels`` ``(N, T)``, for each of the T targets."""
    values: list[float] = (100 * (predicted == labels).double().mean(0)).tolist()
    return values
