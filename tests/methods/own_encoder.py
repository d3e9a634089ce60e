"""Encoders of a user, for the tests of ``MODULE:FUNCTION``."""

from torch import Tensor, nn


def make() -> nn.Module:
    """Pixels, pooled to 4 x 4."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten())


def unpooled() -> nn.Module:
    """Features that are images."""
    return nn.AdaptiveAvgPool2d(4)


def no_module() -> list[Tensor]:
    """Something else."""
    return []
