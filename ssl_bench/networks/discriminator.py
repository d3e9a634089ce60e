"""The structural GAN's discriminator: a ResNet-18 without batch statistics."""

import math
from typing import Literal

from torch import Tensor, nn

from ssl_bench.errors import UserError
from ssl_bench.networks.interfaces import Backbone, HeadedDiscriminator, Network
from ssl_bench.networks.spectral import normalize_spectrally
from ssl_bench.ranges import NonNegativeInt, PositiveInt, check_ranges

Norm = Literal["group", "spectral"]


@check_ranges
class GroupNormResNet(HeadedDiscriminator):
    """ResNet-18 with average pooling, GroupNorm and ELU: ``(N, C, H, W) -> (N, outputs)``.

    This is the network of the structural GAN (arXiv 2310.00357, appendix A.1) and of its released code. Up to 64 px
    there are four stages, and the last three halve the image (32 -> 4, 28 -> 3, 8 -> 1). Above 64 px the first stage
    occurs twice, and all five stages halve the image (128 -> 4). With 128 outputs there are 11.49 M parameters at
    32 px.

    Args:
        image_shape: (C, H, W) of one input; H and W 8 or more.
        outputs: length of one output.
        width: channels of the first stage; the backbone has 8 times as many features. 64 is the published network.
        norm: ``group`` for GroupNorm, or ``spectral`` for spectral normalisation of every weight instead of GroupNorm
            (the paper's ablation).

    Raises:
        UserError: the inputs are not images, or are too small.
    """

    def __init__(
        self, image_shape: tuple[int, ...], outputs: PositiveInt, width: PositiveInt = 64, norm: Norm = "group"
    ):
        super().__init__()
        if len(image_shape) != 3 or min(image_shape[1:]) < 8:
            raise UserError(f"GroupNormResNet takes images (C, H, W) of 8 px or more, not {tuple(image_shape)}")
        large = max(image_shape[1:]) > 64
        if large and min(image_shape[1:]) < 32:
            raise UserError(
                f"GroupNormResNet halves images above 64 px five times: give 32 px or more, not {image_shape}"
            )
        stages = [(1, 2), (1, 2), (2, 2), (4, 2), (8, 2)] if large else [(1, 1), (2, 2), (4, 2), (8, 2)]
        layers: list[nn.Module] = [nn.Conv2d(image_shape[0], width, 3, padding=1, bias=False), nn.ELU()]
        channels = width
        for multiple, stride in stages:
            layers += [
                PooledBlock(channels, multiple * width, stride, norm),
                PooledBlock(multiple * width, multiple * width, 1, norm),
            ]
            channels = multiple * width
        self.backbone = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.feature_dim = channels
        self.head = nn.Sequential(nn.Linear(channels, channels), nn.ELU(), nn.Linear(channels, outputs))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if norm == "spectral":
            normalize_spectrally(self)

    def features(self, x: Tensor) -> Tensor:
        """The backbone's output, which is scored: ``(N, C, H, W) -> (N, feature_dim)``."""
        features: Tensor = self.backbone(x)
        return features


@check_ranges
class GroupNormBackbone(Backbone):
    """`GroupNormResNet` without its head, as the backbone of another method: ``(N, C, H, W) -> (N, feature_dim)``.

    The structural GAN paper trains the methods that it compares with on ImageNet-10 with this network.

    Args:
        image_shape: see `GroupNormResNet`.
        outputs: 0; a backbone has no further layer.
        width: see `GroupNormResNet`.
        norm: see `GroupNormResNet`.

    Raises:
        UserError: `outputs` is not 0, or see `GroupNormResNet`.
    """

    def __init__(
        self, image_shape: tuple[int, ...], outputs: NonNegativeInt, width: PositiveInt = 64, norm: Norm = "group"
    ):
        super().__init__()
        if outputs:
            raise UserError(f"GroupNormBackbone: outputs {outputs}: a backbone has 0")
        network = GroupNormResNet(image_shape, 1, width, norm)
        self.backbone, self.feature_dim = network.backbone, network.feature_dim

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W) -> (N, feature_dim)``."""
        features: Tensor = self.backbone(x)
        return features


@check_ranges
class PooledBlock(Network):
    """Average pooling and two 3x3 convolutions, the second normalised; a normalised 1x1 shortcut if shapes differ."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: Norm):
        super().__init__()
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.ELU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            normalization(outputs, norm),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), normalization(outputs, norm))
        self.activation = nn.ELU()

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W) -> (N, outputs, H // stride, W // stride)``."""
        x = self.pool(x)
        y: Tensor = self.activation(self.residual(x) + self.shortcut(x))
        return y


def normalization(channels: int, norm: Norm) -> nn.Module:
    """Return GroupNorm with 16 channels per group, with fewer groups if 16 does not divide the number of channels."""
    if norm == "spectral":
        return nn.Identity()
    return nn.GroupNorm(math.gcd(channels, max(1, channels // 16)), channels)
