"""Random image transforms of a whole batch, with separate parameters for each image.

Images are float ``(N, C, H, W)`` in [0, 1]. A transform first samples its parameters from
the device's global generator and then applies them. The second part can therefore be compared image by image with
torchvision's functional transforms, and be compiled without random numbers. Values are never rounded to 8 bits.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from ssl_bench.errors import UserError
from ssl_bench.ranges import Interval, UnitFloat, check_ranges

FiniteFloat = Annotated[float, Interval()]
StandardDeviation = Annotated[float, Interval(1e-6)]
Probability = UnitFloat | tuple[UnitFloat, ...]
"""A probability for all views, or one for each view."""


class Transform(ABC):
    """One step of a recipe.

    Attributes:
        random: whether the step is random. Random steps are left out of the evaluation input.
    """

    random: ClassVar[bool] = True

    @property
    def needs_colour(self) -> bool:
        """Whether the step is defined for grey and RGB images only."""
        return False

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the output for images of this height and width."""
        return height, width

    @abstractmethod
    def sample_parameters(self, n: int, height: int, width: int, device: torch.device) -> tuple[Tensor, ...]:
        """Random parameters for n images of this height and width, each of shape ``(n,)``."""

    @abstractmethod
    def __call__(self, x: Tensor, *parameters: Tensor) -> Tensor:
        """Transform images ``(N, C, H, W)`` in [0, 1] by the parameters that `sample_parameters` returned."""


def uniform(n: int, between: Sequence[float], device: torch.device) -> Tensor:
    """``(n,)`` uniform random numbers between the two given numbers."""
    low, high = between
    return torch.rand(n, device=device) * (high - low) + low


def bernoulli(n: int, p: float | Sequence[float], device: torch.device) -> Tensor:
    """``(n,)`` booleans, each true with probability p; if p has V items, each applies to n / V successive booleans."""
    numbers = torch.rand(n, device=device)
    if isinstance(p, Sequence):
        views = zip(numbers.chunk(len(p)), p, strict=True)
        return torch.cat([part < probability for part, probability in views])
    return numbers < p


def per_image(value: Tensor) -> Tensor:
    """Reshape ``(N,)`` to ``(N, 1, 1, 1)``, so that each image is combined with its own value."""
    return value[:, None, None, None]


def check_ascending(step: object, name: str) -> None:
    """Check the order of a pair of numbers.

    Raises:
        UserError: the first number of attribute `name` of `step` is larger than the second.
    """
    low, high = getattr(step, name)
    if low > high:
        raise UserError(f"{type(step).__name__}: {name} must be two numbers, the smaller one first, got {[low, high]}")


@check_ranges
@dataclass(frozen=True)
class Flip(Transform):
    """Flip an image along `axis` with probability `p`."""

    p: Probability = 0.5
    axis: ClassVar[int]

    def sample_parameters(self, n: int, height: int, width: int, device: torch.device) -> tuple[Tensor, ...]:
        """Whether each image is flipped."""
        return (bernoulli(n, self.p, device),)

    def __call__(self, x: Tensor, *parameters: Tensor) -> Tensor:
        """Flip the selected images."""
        return torch.where(per_image(parameters[0]), x.flip(self.axis), x)


class HorizontalFlip(Flip):
    """Exchange left and right with probability `p`."""

    axis = -1


class VerticalFlip(Flip):
    """Exchange top and bottom with probability `p`."""

    axis = -2


@check_ranges
@dataclass(frozen=True)
class Threshold(Transform):
    """Make images binary: 1 where the value is above `at`, else 0."""

    at: UnitFloat = 0.5
    random = False

    def sample_parameters(self, n: int, height: int, width: int, device: torch.device) -> tuple[Tensor, ...]:
        """No parameters: the step is not random."""
        return ()

    def __call__(self, x: Tensor, *parameters: Tensor) -> Tensor:
        """Compare every value with the threshold."""
        return (x > self.at).to(x.dtype)


@check_ranges
@dataclass(frozen=True)
class Normalize(Transform):
    """Subtract the mean of each channel and divide by the standard deviation of the channel.

    Args:
        mean: one number for all channels or one for each; by default those of the data set.
        std: one number for all channels or one for each; by default those of the data set.
    """

    mean: FiniteFloat | tuple[FiniteFloat, ...] | None = None
    std: StandardDeviation | tuple[StandardDeviation, ...] | None = None
    random = False

    def with_statistics(self, mean: Sequence[float], std: Sequence[float]) -> "Normalize":
        """This step with the data set's mean and std in place of missing ones."""
        return Normalize(tuple(mean) if self.mean is None else self.mean, tuple(std) if self.std is None else self.std)

    def fits_channels(self, channels: int) -> bool:
        """Whether mean and std are one number each or one for each channel."""
        return all(isinstance(v, int | float) or v is None or len(v) == channels for v in (self.mean, self.std))

    def sample_parameters(self, n: int, height: int, width: int, device: torch.device) -> tuple[Tensor, ...]:
        """No parameters: the step is not random."""
        return ()

    def __call__(self, x: Tensor, *parameters: Tensor) -> Tensor:
        """Normalise each channel."""
        return (x - self._channels(self.mean, x)) / self._channels(self.std, x)

    def undo(self, x: Tensor) -> Tensor:
        """The inverse, for ``(..., C, H, W)``."""
        return x * self._channels(self.std, x) + self._channels(self.mean, x)

    @staticmethod
    def _channels(value: float | Sequence[float] | None, x: Tensor) -> Tensor:
        if value is None:
            raise ValueError("mean or std is missing: with_statistics() takes it from the data set")
        numbers = [value] if isinstance(value, int | float) else value
        # Filled on the device, because a copy from the host would make a GPU wait at every batch.
        return torch.stack([torch.full((1, 1), number, device=x.device) for number in numbers])
