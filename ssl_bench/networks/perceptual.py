"""Distance between images in the features of a frozen network."""

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor, nn


class PerceptualLoss(Protocol):
    """A distance between images in [0, 1], measured in the features of a network.

    Attributes:
        name: name of the distance in logs.
    """

    name: str

    def features(self, images: Tensor) -> list[Tensor]:
        """Features of images ``(N, C, H, W)``: tensors ``(N, ...)``."""
        ...

    def distance(self, images: Tensor, features: list[Tensor]) -> Tensor:
        """Distances ``(N,)`` of images ``(N, C, H, W)`` from the images that have these features."""
        ...


class PerceptualDistance(nn.Module):
    """Sum over the stages of a frozen network of the mean absolute difference of their outputs, for each image.

    Args:
        stages: parts of the network; each part is applied to the output of the previous part.
        mean: mean of each channel, in [0, 1], by which the network's inputs are normalised.
        std: standard deviation of each channel, by which the network's inputs are normalised.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, stages: Iterable[nn.Module], mean: Iterable[float], std: Iterable[float]):
        super().__init__()
        self.stages = nn.ModuleList(stages).requires_grad_(False).eval()
        for name, values in {"mean": mean, "std": std}.items():
            self.register_buffer(name, torch.tensor(list(values)).view(-1, 1, 1))

    def features(self, images: Tensor) -> list[Tensor]:
        """Outputs of every stage, each ``(N, ...)``, of images ``(N, C, H, W)`` in [0, 1]."""
        x = (images - self.mean) / self.std  # broadcasts greyscale images to three channels if mean has three
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs

    def distance(self, images: Tensor, features: list[Tensor]) -> Tensor:
        """Distances ``(N,)`` of images ``(N, C, H, W)`` in [0, 1] from the images that have these features."""
        pairs = zip(self.features(images), features, strict=True)
        return torch.stack([(x - y).abs().float().flatten(1).mean(1) for x, y in pairs]).sum(0)
