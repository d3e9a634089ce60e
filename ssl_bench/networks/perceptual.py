"""Distance of images in the features of a network that is not trained any more."""

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import VGG19_Weights, vgg19

from ssl_bench.errors import UserError

CUTS = (0, 2, 7, 12, 21, 30)
"""Of VGG19's layers, into stages that end with the first ReLU of each resolution (Johnson et al. 2016)."""
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PerceptualDistance(nn.Module):
    """Sum over stages of the mean absolute difference of their outputs, for each image; frozen.

    Args:
        stages: of a network, each takes what the one before gives.
        mean: that the network's inputs are normalised by, of each channel in [0, 1].
        std: likewise.
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
        x = (images - self.mean) / self.std  # a grey image becomes three equal channels where the network has three
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs

    def distance(self, images: Tensor, features: list[Tensor]) -> Tensor:
        """``(N,)`` of images ``(N, C, H, W)`` in [0, 1] and the features of N others."""
        pairs = zip(self.features(images), features, strict=True)
        return torch.stack([(x - y).abs().float().flatten(1).mean(1) for x, y in pairs]).sum(0)


def vgg19_distance(weights: Path | None = None, normalize: bool = True) -> PerceptualDistance:
    """Of VGG19's features (Simonyan & Zisserman 2015), at its layers relu1_1, relu2_1, ..., relu5_1.

    Args:
        weights: file of torchvision's VGG19 trained on ImageNet; none downloads it.
        normalize: the inputs as the network was trained with, by ImageNet's mean and standard deviation, or as released
            with "Constructive Assimilation": to [-1, 1].

    Raises:
        UserError: the weights cannot be had, or are not VGG19's.
    """
    with torch.device("meta"):
        layers = vgg19(weights=None).features[: CUTS[-1]]
    try:
        state: Any = (
            torch.load(weights, map_location="cpu", weights_only=True)
            if weights
            else VGG19_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)
        )
    except OSError as error:
        raise UserError(
            f"VGG19's weights cannot be had ({error}): give their file, or the run folder of a simclr or simsiam run "
            "that stands in for it, as --method.perceptual.weights"
        ) from error
    try:
        state = {name.removeprefix("features."): tensor for name, tensor in state.items()}
        layers.load_state_dict({name: state[name] for name in layers.state_dict()}, assign=True)
    except (AttributeError, KeyError, RuntimeError) as error:
        raise UserError(f"{weights}: not the weights of torchvision's vgg19, no fitting {error}"[:200]) from error
    for layer in layers:
        if isinstance(layer, nn.MaxPool2d):
            layer.ceil_mode = True  # the same for even sizes, and images of 8 px do not vanish
    stages = [layers[start:end] for start, end in itertools.pairwise(CUTS)]
    return PerceptualDistance(stages, *(IMAGENET if normalize else ((0.5,) * 3, (0.5,) * 3)))
