"""Task: three splits of features with labels, the input of the protocols that need labels."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from ssl_bench.distributed import all_reduce_sum
from ssl_bench.evaluation.points import largest_magnitudes, power_of_two
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
    def of(cls, mean: Tensor, deviation: Tensor, dtype: torch.dtype) -> "Scaling":
        """Scaling from means and deviations, float64 ``(d,)``, of features of this type."""
        varies = deviation > CONSTANT[dtype] * mean.abs()
        return cls(mean, deviation.where(varies, 1.0), varies)

    def precision(self, dtype: torch.dtype) -> torch.dtype:
        """Type in which features of this type are standardised: float64 if a deviation has no inverse in float32."""
        smallest = torch.finfo(dtype).tiny
        inside = (self.deviation >= smallest) & (self.deviation <= 1 / smallest)
        return dtype if inside.all() else torch.float64


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
        noisy: for each index t of the noise of a diffusion model, the same task on the features of each layer.
    """

    train: Rows
    validation: Rows
    test: Rows
    num_classes: int
    shared: dict[str, Any] = field(default_factory=dict)
    augmented: tuple[tuple[Rows, Rows], ...] = ()
    layers: tuple["Task", ...] = ()
    noisy: dict[int, tuple["Task", ...]] = field(default_factory=dict)

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
            x = train.take(slice(None)).double()
            unit = power_of_two(x.abs().amax(0))  # otherwise squares of small features are 0
            variance, mean = torch.var_mean(x / unit, 0, correction=0)
            return Scaling.of(mean * unit, variance.sqrt() * unit, train.dtype)

        return self.once("scaling", compute)

    def moments(self) -> tuple[Scaling, Tensor]:
        """Means and deviations of the train split's features, and second moments ``(d, d)`` of the scaled features."""

        def compute() -> tuple[Scaling, Tensor]:
            # Relative to the first row: float32 products of features far from 0 would lose the variance. Divided by a
            # power of two, which does not round: float32 squares of 1e-30 are 0, those of 1e30 are infinite.
            train = self.train.exact()
            unit = power_of_two(largest_magnitudes(train))
            origin = train.take(slice(1))[0]
            scale = unit.to(origin.dtype)
            total = torch.zeros(train.dim, dtype=torch.float64, device=self.device)
            square = torch.zeros(train.dim, train.dim, dtype=torch.float64, device=self.device)
            for x, _ in train.blocks():
                centred = (x / scale - origin / scale).float()
                total += centred.sum(0, dtype=torch.float64)
                square += centred.T @ centred
            n = len(train)
            shift = all_reduce_sum(total) / n
            covariance = all_reduce_sum(square) / n - torch.outer(shift, shift)
            deviation = covariance.diagonal().clamp_min(0).sqrt()
            scaling = Scaling.of(origin.double() + shift * unit, deviation * unit, train.dtype)
            deviation = deviation.where(scaling.varies, 1.0)
            return scaling, covariance / torch.outer(deviation, deviation)

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
