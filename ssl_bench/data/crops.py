"""Boxes to cut out of images: which part of an image is seen, and at what size."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ssl_bench.data.transforms import check_range, check_size, uniform
from ssl_bench.errors import UserError

INTERPOLATIONS = ("bilinear", "bicubic")


class Box(NamedTuple):
    """What is cut out of each image, in pixels, each ``(N,)``; outside the image all is black."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor


class Crop(ABC):
    """A box of each image, which `Resample` brings to the size of the output.

    Attributes:
        random: whether the step is left out of the evaluation input.
        interpolation: ``bilinear`` or ``bicubic``.
    """

    random: ClassVar[bool] = False
    interpolation: str = "bilinear"

    @abstractmethod
    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the output for images of this height and width."""

    @abstractmethod
    def box(self, n: int, height: int, width: int, device: torch.device) -> Box:
        """What is cut out of n images of this height and width."""


def _box(n: int, top: int, left: int, height: int, width: int, device: torch.device) -> Box:
    return Box(*(torch.full((n,), edge, device=device) for edge in (top, left, height, width)))


def _positions(room: Tensor) -> Tensor:
    """Uniform integers in [0, room]."""
    return (torch.rand(room.shape, device=room.device) * (room + 1)).floor()


def _middle(size: int, out: int) -> int:
    """Where `out` pixels begin in the middle of `size`; of two middles torchvision's."""
    return round((size - out) / 2) if out < size else -((out - size) // 2)


@dataclass(frozen=True)
class RandomResizedCrop(Crop):
    """A box of random area and aspect ratio, resized; the distribution is torchvision's.

    Args:
        scale: range of the box's area as a share of the image's, uniform.
        ratio: range of the box's width / height, uniform in its logarithm.
        size: height and width of the output; by default those of the input.
        interpolation: ``bilinear`` or ``bicubic``; both filter against aliasing.
    """

    scale: Sequence[float] = (0.08, 1.0)
    ratio: Sequence[float] = (3 / 4, 4 / 3)
    size: int | None = None
    interpolation: str = "bilinear"
    random = True

    def __post_init__(self) -> None:
        check_range("scale", self.scale, 0, 1)
        check_range("ratio", self.ratio, 1e-3)
        if self.size is not None:
            check_size("size", self.size)
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation is {self.interpolation!r}, expected {' or '.join(INTERPOLATIONS)}")

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """`size` squared, else as it came."""
        return (self.size, self.size) if self.size else (height, width)

    def box(self, n: int, height: int, width: int, device: torch.device) -> Box:
        """The first of ten boxes drawn that fits into the image, else the largest in its middle."""
        low, high = self.ratio
        area = height * width * uniform(10 * n, self.scale, device).view(10, n)
        ratio = uniform(10 * n, (math.log(low), math.log(high)), device).exp().view(10, n)
        widths, heights = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
        fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
        first = fits.int().argmax(0, keepdim=True)  # the first of equals

        fallback_width, fallback_height = min(width, round(height * high)), min(height, round(width / low))
        any_fits = fits.any(0)
        box_width = torch.where(any_fits, widths.gather(0, first)[0], fallback_width)
        box_height = torch.where(any_fits, heights.gather(0, first)[0], fallback_height)
        top, left = _positions(height - box_height), _positions(width - box_width)
        middle_top, middle_left = (height - fallback_height) // 2, (width - fallback_width) // 2
        return Box(
            torch.where(any_fits, top, middle_top), torch.where(any_fits, left, middle_left), box_height, box_width
        )


@dataclass(frozen=True)
class RandomCrop(Crop):
    """A box of the output's size anywhere in the image after `padding` black pixels on every side.

    Args:
        padding: black pixels added on every side.
        size: height and width of the output; by default those of the input.
    """

    padding: int = 0
    size: int | None = None
    random = True

    def __post_init__(self) -> None:
        check_size("padding", self.padding, least=0)
        if self.size is not None:
            check_size("size", self.size)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """`size` squared, else as it came."""
        if self.size and self.size > min(height, width) + 2 * self.padding:
            raise UserError(
                f"views: random_crop: size {self.size} is more than an image of {height}x{width} with padding "
                f"{self.padding} has: give a smaller size or more padding"
            )
        return (self.size, self.size) if self.size else (height, width)

    def box(self, n: int, height: int, width: int, device: torch.device) -> Box:
        """A place for the box, uniform."""
        out_height, out_width = self.output_size(height, width)
        box = _box(n, height - out_height, width - out_width, out_height, out_width, device)
        top, left = (_positions(room + 2 * self.padding) - self.padding for room in (box.top, box.left))
        return box._replace(top=top, left=left)


@dataclass(frozen=True)
class CenterCrop(Crop):
    """The middle `size` x `size` pixels; black where the image is smaller."""

    size: int

    def __post_init__(self) -> None:
        check_size("size", self.size)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """`size` squared."""
        return self.size, self.size

    def box(self, n: int, height: int, width: int, device: torch.device) -> Box:
        """The box in the middle."""
        top, left = _middle(height, self.size), _middle(width, self.size)
        return _box(n, top, left, self.size, self.size, device)


@dataclass(frozen=True)
class Pad(Crop):
    """`padding` black pixels on every side."""

    padding: int

    def __post_init__(self) -> None:
        check_size("padding", self.padding, least=0)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """The larger size."""
        return height + 2 * self.padding, width + 2 * self.padding

    def box(self, n: int, height: int, width: int, device: torch.device) -> Box:
        """The box around the image."""
        return _box(n, -self.padding, -self.padding, *self.output_size(height, width), device)


@dataclass(frozen=True)
class Resize(Crop):
    """The whole image at `size` x `size` pixels, whatever its aspect ratio."""

    size: int

    def __post_init__(self) -> None:
        check_size("size", self.size)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """`size` squared."""
        return self.size, self.size

    def box(self, n: int, height: int, width: int, device: torch.device) -> Box:
        """All of the image."""
        return _box(n, 0, 0, height, width, device)
