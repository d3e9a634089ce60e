"""Crops: the part of each image that is taken, and the size of the output."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from ssl_bench.data.transforms import check_ascending, uniform
from ssl_bench.errors import UserError
from ssl_bench.ranges import Interval, NonNegativeInt, PositiveInt, UnitFloat, check_ranges

Interpolation = Literal["bilinear", "bicubic"]
AspectRatio = Annotated[float, Interval(1e-3)]


class Box(NamedTuple):
    """The part of each image that is taken, as ``(N,)`` numbers of pixels; pixels outside the image are black."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor


class Crop(ABC):
    """Base class of crops: one box per image, which `Resample` resizes to the size of the output.

    Attributes:
        random: whether the step is random. Random steps are left out of the evaluation input.
        interpolation: ``bilinear`` or ``bicubic``.
    """

    random: ClassVar[bool] = False
    interpolation: Interpolation = "bilinear"

    @abstractmethod
    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the output for images of this height and width."""

    @abstractmethod
    def box(self, n: int, height: int, width: int, device: torch.device) -> Box:
        """The boxes of n images of this height and width."""


def _box(n: int, top: int, left: int, height: int, width: int, device: torch.device) -> Box:
    return Box(*(torch.full((n,), edge, device=device) for edge in (top, left, height, width)))


def _positions(highest: Tensor) -> Tensor:
    """Uniform random integers in [0, highest]."""
    return (torch.rand(highest.shape, device=highest.device) * (highest + 1)).floor()


def _central_start(size: int, out: int) -> int:
    """Start of the `out` central pixels of `size`; if two positions are equally central, that of torchvision."""
    return round((size - out) / 2) if out < size else -((out - size) // 2)


@check_ranges
@dataclass(frozen=True)
class RandomResizedCrop(Crop):
    """Take a box of random area and aspect ratio and resize it, with torchvision's distribution.

    Args:
        scale: lowest and highest area of the box as a fraction of the image's area; the distribution is uniform.
        ratio: lowest and highest width / height of the box; the distribution of the logarithm is uniform.
        size: height and width of the output; by default those of the input.
        interpolation: ``bilinear`` or ``bicubic``, both with antialiasing.
    """

    scale: tuple[UnitFloat, UnitFloat] = (0.08, 1.0)
    ratio: tuple[AspectRatio, AspectRatio] = (3 / 4, 4 / 3)
    size: PositiveInt | None = None
    interpolation: Interpolation = "bilinear"
    random = True

    def __post_init__(self) -> None:
        check_ascending(self, "scale")
        check_ascending(self, "ratio")

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """`size` x `size`, or the input's size."""
        return (self.size, self.size) if self.size else (height, width)

    def box(self, n: int, height: int, width: int, device: torch.device) -> Box:
        """The first of ten random boxes that fits into the image; if none fits, the largest central box."""
        low, high = self.ratio
        area = height * width * uniform(10 * n, self.scale, device).view(10, n)
        ratio = uniform(10 * n, (math.log(low), math.log(high)), device).exp().view(10, n)
        widths, heights = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
        fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
        first = fits.int().argmax(0, keepdim=True)  # argmax returns the first of equal values

        fallback_width, fallback_height = min(width, round(height * high)), min(height, round(width / low))
        any_fits = fits.any(0)
        box_width = torch.where(any_fits, widths.gather(0, first)[0], fallback_width)
        box_height = torch.where(any_fits, heights.gather(0, first)[0], fallback_height)
        top, left = _positions(height - box_height), _positions(width - box_width)
        central_top, central_left = (height - fallback_height) // 2, (width - fallback_width) // 2
        return Box(
            torch.where(any_fits, top, central_top), torch.where(any_fits, left, central_left), box_height, box_width
        )


@check_ranges
@dataclass(frozen=True)
class RandomCrop(Crop):
    """Take a box of the output's size at a random position of the padded image.

    Args:
        padding: black pixels added on every side.
        size: height and width of the output; by default those of the input.
    """

    padding: NonNegativeInt = 0
    size: PositiveInt | None = None
    random = True

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """`size` x `size`, or the input's size.

        Raises:
            UserError: `size` is larger than the padded image.
        """
        if self.size and self.size > min(height, width) + 2 * self.padding:
            raise UserError(
                f"views: random_crop: size {self.size} is larger than an image of {height}x{width} with padding "
                f"{self.padding}: give a smaller size or more padding"
            )
        return (self.size, self.size) if self.size else (height, width)

    def box(self, n: int, height: int, width: int, device: torch.device) -> Box:
        """Boxes at uniform random positions."""
        out_height, out_width = self.output_size(height, width)
        box = _box(n, height - out_height, width - out_width, out_height, out_width, device)
        top, left = (_positions(margin + 2 * self.padding) - self.padding for margin in (box.top, box.left))
        return box._replace(top=top, left=left)


@check_ranges
@dataclass(frozen=True)
class CenterCrop(Crop):
    """Take the central `size` x `size` pixels; a smaller image is padded with black."""

    size: PositiveInt

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """`size` x `size`."""
        return self.size, self.size

    def box(self, n: int, height: int, width: int, device: torch.device) -> Box:
        """The central box."""
        top, left = _central_start(height, self.size), _central_start(width, self.size)
        return _box(n, top, left, self.size, self.size, device)


@check_ranges
@dataclass(frozen=True)
class Pad(Crop):
    """Add `padding` black pixels on every side."""

    padding: NonNegativeInt

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """The size with padding."""
        return height + 2 * self.padding, width + 2 * self.padding

    def box(self, n: int, height: int, width: int, device: torch.device) -> Box:
        """The box of the padded image."""
        return _box(n, -self.padding, -self.padding, *self.output_size(height, width), device)


@check_ranges
@dataclass(frozen=True)
class Resize(Crop):
    """Resize the whole image to `size` x `size` pixels; the aspect ratio is not kept."""

    size: PositiveInt

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """`size` x `size`."""
        return self.size, self.size

    def box(self, n: int, height: int, width: int, device: torch.device) -> Box:
        """The box of the whole image."""
        return _box(n, 0, 0, height, width, device)
