"""Transforms of an image's colours, for a whole batch at once.

New tensors are worked on in place: on a CPU fetching fresh memory costs more than the arithmetic.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ssl_bench.data.transforms import Transform, bernoulli, check, per_image, uniform

LUMA = (0.2989, 0.587, 0.114)  # ITU-R BT.601, to torchvision's digits


def luma(x: Tensor) -> Tensor:
    """Grey value of each pixel: ``(N, C, H, W)`` -> ``(N, 1, H, W)``; one channel is its own."""
    if x.shape[1] == 1:
        return x
    r, g, b = x.unbind(1)
    return (LUMA[0] * r + LUMA[1] * g + LUMA[2] * b)[:, None]


def blend(x: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """``factor * x + (1 - factor) * other``, kept in [0, 1]; a factor of 1 leaves x as it is to the last bit."""
    return (x * factor).add_(other * (1 - factor)).clamp_(0, 1)


def shift_hue(x: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue of HSV by `shift` turns, saturation and value unchanged.

    With value V = max, chroma C = max - min and hue H in turns, a channel is V - C * clamp(2 - 6 d, 0, 1), where d
    is the distance on the circle from H to the channel's opposite colour (cyan, magenta, yellow at 3/6, 5/6, 1/6):
    the HSV to RGB conversion of Pillow and torchvision without its table of six cases.

    Args:
        x: ``(N, 3, H, W)`` in [0, 1].
        shift: ``(N,)`` turns, in [-0.5, 0.5].
    """
    r, g, b = x.unbind(1)
    value = torch.maximum(torch.maximum(r, g), b)
    chroma = value - torch.minimum(torch.minimum(r, g), b)
    sixth = 1 / (6 * chroma.clamp(min=1e-9))  # grey has no hue: 0 / 1e-9
    hue = torch.where(
        value == r, (g - b) * sixth, torch.where(value == g, (b - r) * sixth + 1 / 3, (r - g) * sixth + 2 / 3)
    )
    opposite = torch.arange(3, 8, 2, device=x.device)[:, None, None] / 6
    turns = (hue + shift[:, None, None])[:, None] - opposite
    distance = turns.sub_(turns.round()).abs_()
    return distance.mul_(-6).add_(2).clamp_(0, 1).mul_(-chroma[:, None]).add_(value[:, None])


@dataclass(frozen=True)
class ColorJitter(Transform):
    """Brightness, contrast, saturation and hue, in this order, together with probability `p`.

    Factors as in torchvision's ``ColorJitter``: uniform in [max(0, 1 - b), 1 + b] (hue: [-h, h] turns).
    torchvision draws the order anew for each image; here it is fixed, so that a batch is one operation. Of an
    image with one channel only brightness and contrast change.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    p: float = 1.0

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            check(name, getattr(self, name), 0)
        check("hue", self.hue, 0, 0.5)
        check("p", self.p, 0, 1)

    def sample_parameters(self, n: int, height: int, width: int, device: torch.device) -> tuple[Tensor, ...]:
        """The four factors; those of an image that was not chosen change nothing."""
        chosen = bernoulli(n, self.p, device)
        factors = [
            torch.where(chosen, uniform(n, (max(0.0, 1 - s), 1 + s), device), 1.0)
            for s in (self.brightness, self.contrast, self.saturation)
        ]
        return *factors, torch.where(chosen, uniform(n, (-self.hue, self.hue), device), 0.0)

    def __call__(self, x: Tensor, *drawn: Tensor) -> Tensor:
        """Blend with black, with the mean grey, with the grey image; then turn the hue."""
        brightness, contrast, saturation = (per_image(factor) for factor in drawn[:3])
        if self.brightness:
            x = (x * brightness).clamp_(0, 1)
        if self.contrast:
            mean = luma(x).mean((1, 2, 3), keepdim=True)
            x = blend(x, mean, contrast)
        if x.shape[1] == 3:
            if self.saturation:
                x = blend(x, luma(x), saturation)
            if self.hue:
                x = shift_hue(x, drawn[3])
        return x


@dataclass(frozen=True)
class Grayscale(Transform):
    """All three channels become the grey value with probability `p`."""

    p: float = 0.1

    def __post_init__(self) -> None:
        check("p", self.p, 0, 1)

    def sample_parameters(self, n: int, height: int, width: int, device: torch.device) -> tuple[Tensor, ...]:
        """Whether each image turns grey."""
        return (bernoulli(n, self.p, device),)

    def __call__(self, x: Tensor, *drawn: Tensor) -> Tensor:
        """Turn the chosen images grey."""
        return blend(x, luma(x), (~per_image(drawn[0])).to(x.dtype))


@dataclass(frozen=True)
class Solarize(Transform):
    """Invert what is at or above `threshold` with probability `p`."""

    p: float = 0.5
    threshold: float = 0.5

    def __post_init__(self) -> None:
        check("p", self.p, 0, 1)
        check("threshold", self.threshold, 0, 1)

    def sample_parameters(self, n: int, height: int, width: int, device: torch.device) -> tuple[Tensor, ...]:
        """Whether each image is solarised."""
        return (bernoulli(n, self.p, device),)

    def __call__(self, x: Tensor, *drawn: Tensor) -> Tensor:
        """Invert the bright pixels of the chosen images."""
        return torch.where(per_image(drawn[0]) & (x >= self.threshold), 1 - x, x)
