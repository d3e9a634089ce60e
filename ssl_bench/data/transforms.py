"""Random image transforms for a whole batch at once, each image with its own parameters.

Images are float ``(N, C, H, W)`` in [0, 1] with one or three channels. A transform first draws its parameters
from the device's global generator, then applies them, so that what is applied can be compared with torchvision's
functional transform image by image and compiled without its random numbers. Nothing is rounded to 8 bits in
between.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


class Transform(ABC):
    """One step of a recipe.

    Attributes:
        random: whether the step is left out of the evaluation input.
    """

    random: ClassVar[bool] = True

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of what comes out when images of this height and width go in."""
        return height, width

    @abstractmethod
    def sample_parameters(self, n: int, height: int, width: int, device: torch.device) -> tuple[Tensor, ...]:
        """Parameters for n images of this height and width, each of shape ``(n,)``."""

    @abstractmethod
    def __call__(self, x: Tensor, *drawn: Tensor) -> Tensor:
        """Images ``(N, C, H, W)`` in [0, 1] -> images, with what `draw` gave."""


def uniform(n: int, between: Sequence[float], device: torch.device) -> Tensor:
    """``(n,)`` numbers between the two given."""
    low, high = between
    return torch.rand(n, device=device) * (high - low) + low


def bernoulli(n: int, p: float, device: torch.device) -> Tensor:
    """``(n,)`` booleans, each true with probability p."""
    return torch.rand(n, device=device) < p


def per_image(value: Tensor) -> Tensor:
    """``(N,)`` -> ``(N, 1, 1, 1)``."""
    return value[:, None, None, None]


def check(name: str, value: object, low: float, high: float = math.inf) -> None:
    """Raise ValueError unless `value` is a number in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{name} is {value!r}, expected a number from {low:g} to {high:g}")


def check_range(name: str, value: object, low: float, high: float = math.inf) -> None:
    """Raise ValueError unless `value` is a pair of numbers in [low, high], smallest first."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"{name} is {value!r}, expected two numbers, smallest first")
    for end in value:
        check(name, end, low, high)
    if value[0] > value[1]:
        raise ValueError(f"{name} is {value!r}, expected two numbers, smallest first")


def check_size(name: str, value: object, least: int = 1) -> None:
    """Raise ValueError unless `value` is a number of pixels of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} is {value!r}, expected a whole number of at least {least}")


@dataclass(frozen=True)
class Flip(Transform):
    """Mirror an image with probability `p`."""

    p: float = 0.5
    axis: ClassVar[int]

    def __post_init__(self) -> None:
        check("p", self.p, 0, 1)

    def sample_parameters(self, n: int, height: int, width: int, device: torch.device) -> tuple[Tensor, ...]:
        """Whether each image is mirrored."""
        return (bernoulli(n, self.p, device),)

    def __call__(self, x: Tensor, *drawn: Tensor) -> Tensor:
        """Mirror the images that were chosen."""
        return torch.where(per_image(drawn[0]), x.flip(self.axis), x)


class HorizontalFlip(Flip):
    """Left becomes right with probability `p`."""

    axis = -1


class VerticalFlip(Flip):
    """Top becomes bottom with probability `p`."""

    axis = -2


@dataclass(frozen=True)
class Threshold(Transform):
    """Black and white: 1 above `at`, else 0."""

    at: float = 0.5
    random = False

    def __post_init__(self) -> None:
        check("at", self.at, 0, 1)

    def sample_parameters(self, n: int, height: int, width: int, device: torch.device) -> tuple[Tensor, ...]:
        """Nothing is random."""
        return ()

    def __call__(self, x: Tensor, *drawn: Tensor) -> Tensor:
        """Compare with the threshold."""
        return (x > self.at).to(x.dtype)


@dataclass(frozen=True)
class Normalize(Transform):
    """(x - mean) / std per channel; a single number serves all channels, the data set's own by default."""

    mean: float | Sequence[float] | None = None
    std: float | Sequence[float] | None = None
    random = False

    def __post_init__(self) -> None:
        for name, least in (("mean", -math.inf), ("std", 1e-6)):
            value = getattr(self, name)
            for number in value if isinstance(value, list | tuple) else [] if value is None else [value]:
                check(name, number, least)

    def with_statistics(self, mean: Sequence[float], std: Sequence[float]) -> "Normalize":
        """This step with the data set's mean and std where it has none of its own."""
        return Normalize(mean if self.mean is None else self.mean, std if self.std is None else self.std)

    def fits_channels(self, channels: int) -> bool:
        """Whether mean and std are one number or one for each channel."""
        return all(isinstance(v, int | float) or v is None or len(v) == channels for v in (self.mean, self.std))

    def sample_parameters(self, n: int, height: int, width: int, device: torch.device) -> tuple[Tensor, ...]:
        """Nothing is random."""
        return ()

    def __call__(self, x: Tensor, *drawn: Tensor) -> Tensor:
        """Normalise each channel."""
        return (x - self._channels(self.mean, x)) / self._channels(self.std, x)

    def undo(self, x: Tensor) -> Tensor:
        """The inverse, on ``(..., C, H, W)``."""
        return x * self._channels(self.std, x) + self._channels(self.mean, x)

    @staticmethod
    def _channels(value: float | Sequence[float] | None, x: Tensor) -> Tensor:
        if value is None:
            raise ValueError("no mean or std: with_statistics() takes them from the data set's")
        numbers = [value] if isinstance(value, int | float) else value
        # Filled on the device: a copy from the host would make a GPU wait at every batch.
        return torch.stack([torch.full((1, 1), number, device=x.device) for number in numbers])
