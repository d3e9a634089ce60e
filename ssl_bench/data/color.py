"""Colour transforms of a whole batch.

New tensors are modified in place, because allocating memory on a CPU takes longer than the arithmetic.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from ssl_bench.data.transforms import Probability, Transform, bernoulli, per_image, uniform
from ssl_bench.ranges import Interval, NonNegativeFloat, UnitFloat, check_ranges

LUMA = (0.2989, 0.587, 0.114)  # ITU-R BT.601, rounded as in torchvision


def luma(x: Tensor) -> Tensor:
    """Grey values ``(N, 1, H, W)`` of images ``(N, C, H, W)``: the mean of the channels of images that are not RGB."""
    if x.shape[1] == 1:
        return x
    if x.shape[1] != 3:
        return x.mean(1, keepdim=True)
    r, g, b = x.unbind(1)
    return (LUMA[0] * r + LUMA[1] * g + LUMA[2] * b)[:, None]


def blend(x: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """``factor * x + (1 - factor) * other``, clamped to [0, 1]; a factor of 1 returns the values of x exactly."""
    return (x * factor).add_(other * (1 - factor)).clamp_(0, 1)


def shift_hue(x: Tensor, shift: Tensor) -> Tensor:
    """Add `shift` to the hue of HSV and leave saturation and value unchanged.

    Let V = max be the value, C = max - min the chroma and H in [0, 1) the hue. A channel is then
    V - C * clamp(2 - 6 d, 0, 1), where d is the distance on the circle from H to the channel's opposite colour (cyan,
    magenta, yellow at 3/6, 5/6, 1/6). This is the HSV to RGB conversion of Pillow and torchvision without its table of
    six cases.

    Args:
        x: ``(N, 3, H, W)`` in [0, 1].
        shift: ``(N,)`` fractions of the colour circle, in [-0.5, 0.5].
    """
    r, g, b = x.unbind(1)
    value = torch.maximum(torch.maximum(r, g), b)
    chroma = value - torch.minimum(torch.minimum(r, g), b)
    sixth = 1 / (6 * chroma.clamp(min=1e-9))  # grey has no hue: 0 / 1e-9
    hue = torch.where(
        value == r, (g - b) * sixth, torch.where(value == g, (b - r) * sixth + 1 / 3, (r - g) * sixth + 2 / 3)
    )
    opposite = torch.arange(3, 8, 2, device=x.device)[:, None, None] / 6
    difference = (hue + shift[:, None, None])[:, None] - opposite
    distance = difference.sub_(difference.round()).abs_()
    return distance.mul_(-6).add_(2).clamp_(0, 1).mul_(-chroma[:, None]).add_(value[:, None])


@check_ranges
@dataclass(frozen=True)
class ColorJitter(Transform):
    """With probability `p`, change brightness, contrast, saturation and hue in this order.

    The factors have the distributions of torchvision's ``ColorJitter``: uniform in [max(0, 1 - b), 1 + b] for
    brightness, contrast and saturation, and in [-h, h] for the hue. torchvision samples an order for each image; here
    the order is fixed, so that a batch is one operation. Only brightness and contrast change images of one channel;
    saturation and hue are refused for images that are neither grey nor RGB.

    Args:
        brightness: largest change b of the brightness factor.
        contrast: largest change b of the contrast factor.
        saturation: largest change b of the saturation factor.
        hue: largest shift h of the hue, as a fraction of the colour circle.
        p: probability that an image is changed.
    """

    brightness: NonNegativeFloat = 0.0
    contrast: NonNegativeFloat = 0.0
    saturation: NonNegativeFloat = 0.0
    hue: Annotated[float, Interval(0, 0.5)] = 0.0
    p: Probability = 1.0

    @property
    def needs_colour(self) -> bool:
        """Whether saturation or hue are changed."""
        return bool(self.saturation or self.hue)

    def sample_parameters(self, n: int, height: int, width: int, device: torch.device) -> tuple[Tensor, ...]:
        """The four factors; for an image that is not selected, factors without effect."""
        selected = bernoulli(n, self.p, device)
        factors = [
            torch.where(selected, uniform(n, (max(0.0, 1 - s), 1 + s), device), 1.0)
            for s in (self.brightness, self.contrast, self.saturation)
        ]
        return *factors, torch.where(selected, uniform(n, (-self.hue, self.hue), device), 0.0)

    def __call__(self, x: Tensor, *parameters: Tensor) -> Tensor:
        """Blend with black, with the mean grey value and with the grey image; then shift the hue."""
        brightness, contrast, saturation = (per_image(factor) for factor in parameters[:3])
        if self.brightness:
            x = (x * brightness).clamp_(0, 1)
        if self.contrast:
            mean = luma(x).mean((1, 2, 3), keepdim=True)
            x = blend(x, mean, contrast)
        if x.shape[1] == 3:
            if self.saturation:
                x = blend(x, luma(x), saturation)
            if self.hue:
                x = shift_hue(x, parameters[3])
        return x


@check_ranges
@dataclass(frozen=True)
class Grayscale(Transform):
    """Replace all channels by the grey value with probability `p`."""

    p: Probability = 0.1

    @property
    def needs_colour(self) -> bool:
        """The grey value is that of RGB."""
        return True

    def sample_parameters(self, n: int, height: int, width: int, device: torch.device) -> tuple[Tensor, ...]:
        """Whether each image becomes grey."""
        return (bernoulli(n, self.p, device),)

    def __call__(self, x: Tensor, *parameters: Tensor) -> Tensor:
        """Convert the selected images to grey."""
        return blend(x, luma(x), (~per_image(parameters[0])).to(x.dtype))


@check_ranges
@dataclass(frozen=True)
class Solarize(Transform):
    """Invert values of at least `threshold` with probability `p`."""

    p: Probability = 0.5
    threshold: UnitFloat = 0.5

    def sample_parameters(self, n: int, height: int, width: int, device: torch.device) -> tuple[Tensor, ...]:
        """Whether each image is solarised."""
        return (bernoulli(n, self.p, device),)

    def __call__(self, x: Tensor, *parameters: Tensor) -> Tensor:
        """Invert the bright pixels of the selected images."""
        return torch.where(per_image(parameters[0]) & (x >= self.threshold), 1 - x, x)
