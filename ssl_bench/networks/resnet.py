"""ResNet encoders built from torchvision's blocks, with configurable width and stem."""

from typing import Literal

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from ssl_bench.networks.interfaces import Backbone
from ssl_bench.ranges import NonNegativeInt, PositiveInt, check_ranges


@check_ranges
class ResNetEncoder(Backbone):
    """ResNet-18 by default (He et al. 2016): ``(N, C, H, W) -> (N, outputs)``.

    Args:
        image_shape: (C, H, W) of one input.
        outputs: length of one output. If zero, the output is the pooled features, of length `feature_dim` (8 * width).
        width: channels of the first stage; each later stage doubles them. 64 is the published network.
        blocks: number of blocks of each stage.
        stem: ``small`` for 32-px images (3x3, stride 1, no pooling), ``imagenet`` for larger images (7x7, stride 2,
            then max pooling).
    """

    block: type[BasicBlock | Bottleneck] = BasicBlock

    def __init__(
        self,
        image_shape: tuple[int, ...],
        outputs: NonNegativeInt,
        width: PositiveInt = 64,
        blocks: tuple[PositiveInt, ...] = (2, 2, 2, 2),
        stem: Literal["small", "imagenet"] = "small",
    ):
        super().__init__()
        layers: list[nn.Module]
        if stem == "small":
            layers = [nn.Conv2d(image_shape[0], width, 3, padding=1, bias=False)]
        else:
            layers = [nn.Conv2d(image_shape[0], width, 7, stride=2, padding=3, bias=False)]
        layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        if stem == "imagenet":
            layers.append(nn.MaxPool2d(3, stride=2, padding=1))
        channels = width
        for stage, count in enumerate(blocks):
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(residual_block(self.block, channels, width * 2**stage, stride))
                channels = width * 2**stage * self.block.expansion
        self.backbone = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.feature_dim = channels
        self.stem, self.blocks = stem, blocks
        self.head = nn.Linear(channels, outputs) if outputs else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W) -> (N, outputs)``."""
        outputs: Tensor = self.head(self.backbone(x))
        return outputs

    def torchvision_weights(self) -> dict[str, Tensor]:
        """Weights of the backbone under the names that torchvision and timm give those of their ResNets.

        With the stem ``imagenet``, width 64 and three channels it is the same architecture.
        """
        names = ["conv1", "bn1", *([""] * (2 if self.stem == "imagenet" else 1))]
        names += [f"layer{stage}.{i}" for stage, count in enumerate(self.blocks, 1) for i in range(count)]
        return {
            f"{name}.{key}": tensor
            for name, module in zip(names, self.backbone, strict=False)
            for key, tensor in module.state_dict().items()
        }


@check_ranges
class BottleneckResNetEncoder(ResNetEncoder):
    """ResNet-50 by default, with bottleneck blocks: ``(N, C, H, W) -> (N, outputs)``.

    Args:
        image_shape: see `ResNetEncoder`.
        outputs: see `ResNetEncoder`; `feature_dim` is 32 * width.
        width: see `ResNetEncoder`.
        blocks: number of blocks of each stage.
        stem: see `ResNetEncoder`.
    """

    block = Bottleneck

    def __init__(
        self,
        image_shape: tuple[int, ...],
        outputs: NonNegativeInt,
        width: PositiveInt = 64,
        blocks: tuple[PositiveInt, ...] = (3, 4, 6, 3),
        stem: Literal["small", "imagenet"] = "small",
    ):
        super().__init__(image_shape, outputs, width, blocks, stem)


def residual_block(kind: type[BasicBlock | Bottleneck], inputs: int, width: int, stride: int) -> nn.Module:
    """Make a residual block, with a 1x1 convolution and BatchNorm on the shortcut if the shape changes."""
    shortcut, outputs = None, width * kind.expansion
    if stride != 1 or inputs != outputs:
        convolution = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
        shortcut = nn.Sequential(convolution, nn.BatchNorm2d(outputs))
    block: nn.Module = kind(inputs, width, stride, shortcut)
    return block
