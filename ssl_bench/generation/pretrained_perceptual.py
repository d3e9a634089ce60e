"""Perceptual distances with pretrained networks: VGG19, or the encoder of a run."""

import itertools
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import VGG19_Weights, vgg19

from ssl_bench.config.agreement import load_run_method
from ssl_bench.config.resolve import build, resolve
from ssl_bench.errors import UserError
from ssl_bench.methods.checkpoint import read_tensors
from ssl_bench.networks.perceptual import PerceptualDistance

CUTS = (0, 2, 7, 12, 21, 30)
"""Layers at which VGG19 is cut into stages that end with the first ReLU of each resolution (Johnson et al. 2016)."""
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Means and standard deviations of the channels of ImageNet."""


class PretrainedPerceptual:
    """A perceptual distance whose pretrained network is loaded at first use.

    Args:
        weights: ``vgg19``, whose weights torchvision downloads; a file of these weights; or the run folder of a method
            with a residual backbone (simclr, simsiam). The backbone of a run replaces VGG19 if the weights of VGG19 are
            not available: the outputs of all its residual blocks are compared, and the distance is logged as
            ``stand_in``.
        normalize: if True, inputs of VGG19 are normalised as in its training; if False, as in the released code, see
            `vgg19_distance`. Inputs of a run's backbone are always normalised as in its training.
    """

    def __init__(self, weights: str = "vgg19", normalize: bool = True):
        self.weights, self.normalize = weights, normalize
        self.name = "stand_in" if Path(weights).is_dir() else "vgg19"
        self.network: PerceptualDistance | None = None

    def on(self, device: torch.device) -> PerceptualDistance:
        """Return the network on a device.

        Raises:
            UserError: the weights of the network are not available.
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
    """Return the distance in VGG19's features (Simonyan & Zisserman 2015) at layers relu1_1, relu2_1, ..., relu5_1.

    Args:
        weights: file of torchvision's weights of VGG19 trained on ImageNet; if None, the weights are downloaded.
        normalize: if True, inputs are normalised as in the network's training, by ImageNet's mean and standard
            deviation; if False, to [-1, 1], as in the released code of "Constructive Assimilation".

    Raises:
        UserError: the weights are not available, or are not VGG19's.
    """
    with torch.device("meta"):
        layers = vgg19(weights=None).features[: CUTS[-1]]
    advice = (
        "give the file of VGG19's weights, or the run folder of a simclr or simsiam run to use in place of VGG19, as "
        "--method.perceptual.weights"
    )
    try:
        state = (
            read_tensors(weights, advice=advice)
            if weights
            else VGG19_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)
        )
    except OSError as error:
        raise UserError(f"VGG19's weights are not available ({error}): {advice}") from error
    try:
        state = {name.removeprefix("features."): tensor for name, tensor in state.items()}
        layers.load_state_dict({name: state[name] for name in layers.state_dict()}, assign=True)
    except (AttributeError, KeyError, RuntimeError) as error:
        raise UserError(f"{weights}: not the weights of torchvision's vgg19, no matching {error}"[:200]) from error
    for layer in layers:
        if isinstance(layer, nn.MaxPool2d):
            layer.ceil_mode = True  # equal for even sizes; images of 8 px are not reduced to nothing
    stages = [layers[start:end] for start, end in itertools.pairwise(CUTS)]
    return PerceptualDistance(stages, *(IMAGENET if normalize else ((0.5,) * 3, (0.5,) * 3)))


def run_distance(folder: Path) -> PerceptualDistance:
    """Return the distance in the outputs of all residual blocks of a run's backbone.

    Inputs are normalised as in the recipe of the run.

    Raises:
        UserError: the method of the run has no residual backbone.
    """
    layers = getattr(getattr(load_run_method(folder), "backbone", None), "backbone", None)
    if not isinstance(layers, nn.Sequential):
        raise UserError(
            f"{folder}: its method has no residual backbone: give the run folder of a simclr or simsiam run"
        )
    stages, stem = [], nn.Sequential()
    for layer in layers:
        stem.append(layer)
        if any(True for _ in layer.children()):  # a residual block, not a single layer
            stages.append(stem)
            stem = nn.Sequential()
    views = build(resolve(["--config", str(folder / "config.yaml")])).views
    black, white = views.from_image(torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, *views.output_shape))[..., 0, 0]
    return PerceptualDistance(stages, (-black / (white - black)).tolist(), (1 / (white - black)).tolist())
