"""What a protocol is given: the features of three splits and the labels of one target."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class Task:
    """One target, only the images that have a label for it, all on the evaluation device.

    Attributes:
        train_x: float32 ``(N, d)``; ``validation_x`` and ``test_x`` are alike.
        train_y: int64 ``(N,)`` in ``[0, num_classes)``; ``validation_y`` and ``test_y`` are alike.
        num_classes: classes of the target, whether or not each of them occurs.
        shared: what :meth:`once` has kept; tasks have it in common only where they have all images in common.
    """

    train_x: Tensor
    train_y: Tensor
    validation_x: Tensor
    validation_y: Tensor
    test_x: Tensor
    test_y: Tensor
    num_classes: int
    shared: dict[str, Any] = field(default_factory=dict)

    def once(self, name: str, compute: Callable[[], T]) -> T:
        """``compute()``, done once for all targets on the same images, so it must read features and no labels."""
        if name not in self.shared:
            self.shared[name] = compute()
        result: T = self.shared[name]
        return result

    def fitting_y(self) -> Tensor:
        """Labels of train, then validation: ``(N + V,)``."""
        return torch.cat([self.train_y, self.validation_y])

    def standardised(self) -> tuple[Tensor, Tensor]:
        """Features of train, then validation, ``(N + V, d)``, and of test, in the train split's units.

        Each feature has mean 0 and standard deviation 1 over the train split; one that is constant there is
        only centred.
        """

        def compute() -> tuple[Tensor, Tensor]:
            deviation, mean = torch.std_mean(self.train_x, dim=0, correction=0)
            # A constant's computed deviation is rounding error, not 0.
            deviation[deviation <= 1e-6 * mean.abs()] = 1
            fitting = torch.cat([self.train_x, self.validation_x]).sub_(mean).div_(deviation)
            return fitting, (self.test_x - mean).div_(deviation)

        return self.once("standardised", compute)


class EvaluationProtocol(Protocol):
    """A way to score features: a frozen dataclass of its settings that maps a task to named figures."""

    def __call__(self, task: Task) -> dict[str, float]:
        """Figures by name, ``<protocol>/<figure>``; accuracies in percent."""
        ...


def accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Percentage of ``predicted`` ``(N,)`` that equal ``labels`` ``(N,)``."""
    return 100 * (predicted == labels).double().mean().item()
