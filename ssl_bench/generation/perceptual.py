"""Where the network of a perceptual distance comes from: VGG19, or an encoder that the suite has trained."""

import itertools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import VGG19_Weights, vgg19

from ssl_bench.config.resolve import build, resolve
from ssl_bench.errors import UserError
from ssl_bench.methods.checkpoint import load_method
from ssl_bench.networks.perceptual import PerceptualDistance

CUTS = (0, 2, 7, 12, 21, 30)
"""Of VGG19's layers, into stages that end with the first ReLU of each resolution (Johnson et al. 2016)."""
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Perceptual:
    """A perceptual distance, loaded when it is first asked for.

    Args:
        weights: ``vgg19``, whose weights torchvision downloads; a file of them; or the run folder of a method with a
            residual network as its backbone (simclr, simsiam), of which the outputs of all residual blocks are
            compared: a stand-in where VGG's weights cannot be had, and logged by that name.
        normalize: whether VGG19 is given images as it was trained with, or as released; see `vgg19_distance`. An
            encoder of the suite is given images as its run was.
    """

    def __init__(self, weights: str = "vgg19", normalize: bool = True):
        self.weights, self.normalize = weights, normalize
        self.name = "stand_in" if Path(weights).is_dir() else "vgg19"
        self.network: PerceptualDistance | None = None

    def on(self, device: torch.device) -> PerceptualDistance:
        """The network, on that device.

        Raises:
            UserError: it cannot be had.
        """
        if self.network is None:
            if Path(self.weights).is_dir():
                self.network = run_distance(Path(self.weights))
            else:
                file = None if self.weights == "vgg19" else Path(self.weights)
                self.network = vgg19_distance(file, self.normalize)
        return self.network.to(device)

    def features(self, images: Tensor) -> list[Tensor]:
        """See `PerceptualDistance.features`."""
        return self.on(images.device).features(images)

    def distance(self, images: Tensor, features: list[Tensor]) -> Tensor:
        """See `PerceptualDistance.distance`."""
        return self.on(images.device).distance(images, features)


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


def run_distance(folder: Path) -> PerceptualDistance:
    """Of the outputs of every residual block of a run's backbone, whose inputs are normalised as its recipe does.

    Raises:
        UserError: its method has no such backbone.
    """
    layers = getattr(getattr(load_method(folder), "backbone", None), "backbone", None)
    if not isinstance(layers, nn.Sequential):
        raise UserError(
            f"{folder}: its method has no residual backbone: give the run folder of a simclr or simsiam run"
        )
    stages, stem = [], nn.Sequential()
    for layer in layers:
        stem.append(layer)
        if any(True for _ in layer.children()):  # a block, and not a single layer
            stages.append(stem)
            stem = nn.Sequential()
    views = build(resolve(["--config", str(folder / "config.yaml")])).views
    black, white = views.from_image(torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, *views.output_shape))[..., 0, 0]
    return PerceptualDistance(stages, (-black / (white - black)).tolist(), (1 / (white - black)).tolist())
