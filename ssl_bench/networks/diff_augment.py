"""DiffAugment: differentiable augmentation of real and generated images that reduces a discriminator's over-fitting."""

import torch
from torch import Tensor

from ssl_bench.networks.interfaces import Network


class DiffAugment(Network):
    """DiffAugment (Zhao et al. 2020, arXiv 2006.10738) of images ``(N, C, H, W)`` in about [-1, 1].

    Args:
        color: if True, add -0.5 to 0.5 to the brightness, scale saturation by 0 to 2 and contrast by 0.5 to 1.5.
        translation: if True, translate by up to an eighth of the image, with zero padding.
        cutout: if True, set a square of half the image's side to 0, at a random position.
    """

    def __init__(self, color: bool = True, translation: bool = True, cutout: bool = True):
        super().__init__()
        self.color, self.translation, self.cutout = color, translation, cutout

    def forward(self, x: Tensor) -> Tensor:
        """Augment every image ``(N, C, H, W)`` independently."""
        if self.color:
            brightness, saturation, contrast = torch.rand(3, len(x), 1, 1, 1, dtype=x.dtype, device=x.device)
            x = x + (brightness - 0.5)
            x = torch.lerp(x.mean(1, keepdim=True), x, 2 * saturation)
            x = torch.lerp(x.mean((1, 2, 3), keepdim=True), x, contrast + 0.5)
        if self.translation:
            x = self.translate(x)
        return x * self.holes(x) if self.cutout else x

    def translate(self, x: Tensor) -> Tensor:
        """Translate each image by whole pixels."""
        positions, inside = [], []
        for side in x.shape[2:]:
            reach = int(side / 8 + 0.5)
            shift = torch.randint(-reach, reach + 1, (len(x), 1), device=x.device)
            position = torch.arange(side, device=x.device) + shift
            inside.append((position >= 0) & (position < side))
            positions.append(position.clamp(0, side - 1))
        rows, columns = positions
        moved = x.permute(0, 2, 3, 1)[
            torch.arange(len(x), device=x.device)[:, None, None], rows[:, :, None], columns[:, None]
        ].permute(0, 3, 1, 2)
        return moved * (inside[0][:, :, None] & inside[1][:, None])[:, None]

    def holes(self, x: Tensor) -> Tensor:
        """0 within each image's square, 1 elsewhere: ``(N, 1, H, W)``."""
        within = []
        for side in x.shape[2:]:
            half = side // 2
            start = torch.randint(0, side + 1 - half % 2, (len(x), 1), device=x.device) - half // 2
            position = torch.arange(side, device=x.device)
            within.append((position >= start) & (position < start + half))
        return (~(within[0][:, :, None] & within[1][:, None]))[:, None].to(x.dtype)
