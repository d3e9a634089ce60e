"""The encoder and decoder that SimVAE's released code calls ResNet18.

The released encoder has about 1 M parameters. It is not the ResNet-18 that the paper mentions (`ResNetEncoder`): it has
half the width, no fourth stage and no classifier. The paper does not describe the decoder; `TransposedDecoder` is the
released decoder.
"""

import math
from typing import Annotated

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from ssl_bench.errors import UserError
from ssl_bench.networks.interfaces import Network
from ssl_bench.ranges import Interval, PositiveInt, check_ranges


@check_ranges
class ThreeStageEncoder(Network):
    """Released SimVAE encoder for 32 px and 64 px: ``(N, C, H, W) -> (N, outputs)``.

    Args:
        image_shape: (C, H, W) of one input.
        outputs: length of one output.
        width: channels of the stem; 64 is the released network. The stages have width / 2, width and 2 * width.
        stem: kernel size of the stem convolution, which is not padded: 3 for CIFAR-10, 4 for CelebA.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        outputs: PositiveInt,
        width: Annotated[int, Interval(2)] = 64,
        stem: PositiveInt = 3,
    ):
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(image_shape[0], width, stem),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
        ]
        channels, size = width, math.ceil((image_shape[-1] - stem + 1) / 2)
        for stage, stage_width in enumerate((width // 2, width, 2 * width)):
            stride = 1 if stage == 0 else 2
            projection = nn.Conv2d(channels, stage_width, 1, stride=stride, bias=False)
            shortcut = nn.Sequential(projection, nn.BatchNorm2d(stage_width))
            layers += [
                BasicBlock(channels, stage_width, stride, shortcut),
                BasicBlock(stage_width, stage_width),
            ]
            channels, size = stage_width, math.ceil(size / stride)
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * size**2, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W) -> (N, outputs)``."""
        outputs: Tensor = self.layers(x)
        return outputs


class TransposedBlock(Network):
    """Two transposed 3x3 convolutions; as in the released code, only an upsampling block has a shortcut."""

    def __init__(self, inputs: int, outputs: int, up: bool):
        super().__init__()
        stride, extra = (2, 1) if up else (1, 0)
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(inputs, outputs, 3, stride, 1, extra, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module | None = None
        if up:
            projection = nn.ConvTranspose2d(inputs, outputs, 1, 2, 0, 1, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W) -> (N, outputs, H, W)``, twice the size if ``up``."""
        y: Tensor = self.layers(x)
        return (y if self.shortcut is None else y + self.shortcut(x)).relu()


@check_ranges
class TransposedDecoder(Network):
    """Released SimVAE decoder: ``(N, inputs) -> (N, C, H, W)`` logits, whose sigmoid is the image.

    Args:
        inputs: length of one latent.
        image_shape: (C, H, W) of one output; height and width must be equal and a multiple of 16.
        width: channels of the last stage; the first stage has 8 * width. 64 is the released network.

    Raises:
        UserError: the size is not a multiple of 16.
    """

    def __init__(self, inputs: PositiveInt, image_shape: tuple[int, ...], width: PositiveInt = 64):
        super().__init__()
        size = image_shape[-1]
        if size % 16:
            raise UserError(f"TransposedDecoder: images of {size} px: give a size that is a multiple of 16")
        blocks = [
            TransposedBlock(8 * width, 8 * width, up=False),
            TransposedBlock(8 * width, 4 * width, up=True),
            TransposedBlock(4 * width, 4 * width, up=False),
            TransposedBlock(4 * width, 2 * width, up=True),
            TransposedBlock(2 * width, 2 * width, up=False),
            TransposedBlock(2 * width, width, up=True),
            TransposedBlock(width, width, up=False),
            TransposedBlock(width, width, up=False),
        ]
        self.layers = nn.Sequential(
            nn.Linear(inputs, 8 * width * (size // 16) ** 2),
            nn.Unflatten(1, (8 * width, size // 16, size // 16)),
            *blocks,
            nn.ConvTranspose2d(width, image_shape[0], 7, 2, 3, 1, bias=False),
        )

    def forward(self, z: Tensor) -> Tensor:
        """``(N, inputs) -> (N, C, H, W)``."""
        logits: Tensor = self.layers(z)
        return logits
