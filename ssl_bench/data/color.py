"""Transforms of an image's colours, for a whole batch at once."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ssl_bench.data.transforms import Transform, check, choose, each, uniform

LUMA = (0.2989, 0.587, 0.114)  # ITU-R BT.601, to torchvision's digits


def luma(x: Tensor) -> Tensor:
    """Grey value of each pixel: ``(N, C, H, W)`` -> ``(N, 1, H, W)``; one channel is its own."""
    if x.shape[1] == 1:
        return x
    r, g, b = x.unbind(1)
    return (LUMA[0] * r + LUMA[1] * g + LUMA[2] * b)[:, None]


def shift_hue(x: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue of HSV by `shift` turns, saturation and value unchanged.

    With chroma C = max - min, value V = max and hue H in sixths of a turn, channel n is
    V - C * clamp(min(k, 4 - k), 0, 1), k = (n + H) mod 6, n = 5, 3, 1 for red, green, blue: the HSV to RGB
    conversion of torchvision and Pillow without its case table.

    Args:
        x: ``(N, 3, H, W)`` in [0, 1].
        shift: ``(N,)`` in [-0.5, 0.5].
    """
    r, g, b = x.unbind(1)
    value = x.amax(1)
    chroma = value - x.amin(1)
    safe = torch.where(chroma == 0, 1.0, chroma)
    hue = torch.where(value == r, (g - b) / safe, torch.where(value == g, 2 + (b - r) / safe, 4 + (r - g) / safe))
    hue = hue + 6 * shift[:, None, None]
    k = [torch.remainder(hue + n, 6) for n in (5, 3, 1)]
    return torch.stack([value - chroma * torch.minimum(c, 4 - c).clamp(0, 1) for c in k], dim=1)


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

    def draw(self, n: int, height: int, width: int, device: torch.device) -> tuple[Tensor, ...]:
        """The four factors; those of an image that was not chosen change nothing."""
        chosen = choose(n, self.p, device)
        factors = [
            torch.where(chosen, uniform(n, (max(0.0, 1 - s), 1 + s), device), 1.0)
            for s in (self.brightness, self.contrast, self.saturation)
        ]
        return *factors, torch.where(chosen, uniform(n, (-self.hue, self.hue), device), 0.0)

    def __call__(self, x: Tensor, *drawn: Tensor) -> Tensor:
        """Blend with black, with the mean grey, with the grey image; then turn the hue."""
        brightness, contrast, saturation = (each(factor) for factor in drawn[:3])
        if self.brightness:
            x = (x * brightness).clamp(0, 1)
        if self.contrast:
            mean = luma(x).mean((1, 2, 3), keepdim=True)
            x = torch.lerp(mean, x, contrast).clamp(0, 1)
        if x.shape[1] == 3:
            if self.saturation:
                x = torch.lerp(luma(x), x, saturation).clamp(0, 1)
            if self.hue:
                x = shift_hue(x, drawn[3])
        return x


@dataclass(frozen=True)
class Grayscale(Transform):
    """All three channels become the grey value with probability `p`."""

    p: float = 0.1

    def __post_init__(self) -> None:
        check("p", self.p, 0, 1)

    def draw(self, n: int, height: int, width: int, device: torch.device) -> tuple[Tensor, ...]:
        """Whether each image turns grey."""
        return (choose(n, self.p, device),)

    def __call__(self, x: Tensor, *drawn: Tensor) -> Tensor:
        """Turn the chosen images grey."""
        return torch.where(each(drawn[0]), luma(x), x)


@dataclass(frozen=True)
class Solarize(Transform):
    """Invert what is at or above `threshold` with probability `p`."""

    p: float = 0.5
    threshold: float = 0.5

    def __post_init__(self) -> None:
        check("p", self.p, 0, 1)
        check("threshold", self.threshold, 0, 1)

    def draw(self, n: int, height: int, width: int, device: torch.device) -> tuple[Tensor, ...]:
        """Whether each image is solarised."""
        return (choose(n, self.p, device),)

    def __call__(self, x: Tensor, *drawn: Tensor) -> Tensor:
        """Invert the bright pixels of the chosen images."""
        return torch.where(each(drawn[0]) & (x >= self.threshold), 1 - x, x)
