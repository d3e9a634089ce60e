"""A network that makes views: bounded, random perturbations of images."""

from typing import Annotated

import torch
from torch import Tensor, nn

from ssl_bench.errors import UserError
from ssl_bench.networks.interfaces import Network
from ssl_bench.ranges import Interval, NonNegativeInt, PositiveInt, check_ranges


@check_ranges
class ViewMakerNetwork(Network):
    """Images x in [0, 1] to views ``x + delta`` (Tamkin et al. 2021, arXiv 2010.07432, section 3.2 and appendix A).

    The network reduces images to a quarter of their size, applies residual blocks, and enlarges the result again. Each
    block has one additional input channel of uniform noise. The perturbation is scaled so that the mean of ``|delta|``
    over an image is `budget`. It is smaller than `budget` if the mean before scaling is below 1e-4.

    Args:
        image_shape: (C, H, W) of one image; H and W must be multiples of 4 and at least 8.
        width: channels of the first layer; later layers have two and four times as many. 32 is the published network.
        blocks: number of residual blocks; 3 in the runs of "Constructive Assimilation".
        budget: mean absolute change of a pixel.
        clamp: if True, the result is clamped to [0, 1], and the change may be below the budget. True is the default of
            the published class; released configurations, including those of "Constructive Assimilation", use False.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        width: PositiveInt = 32,
        blocks: NonNegativeInt = 3,
        budget: Annotated[float, Interval(0, 1, closed="right")] = 0.05,
        clamp: bool = True,
    ):
        super().__init__()
        channels, *size = image_shape
        if any(side % 4 or side < 8 for side in size):
            raise UserError(
                f"ViewMakerNetwork: images of {tuple(image_shape)}: give sides that are multiples of 4 and at least 8"
            )
        self.image_shape, self.budget, self.clamp = tuple(image_shape), budget, clamp
        self.down = nn.Sequential(
            layer(channels + 1, width, 9),
            layer(width, 2 * width, 3, stride=2),
            layer(2 * width, 4 * width, 3, stride=2),
        )
        self.blocks = nn.ModuleList(ResidualBlock(4 * width + 1 + block) for block in range(blocks))
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2),
            layer(4 * width + blocks, 2 * width, 3),
            nn.Upsample(scale_factor=2),
            layer(2 * width, width, 3),
            nn.Conv2d(width, channels, 9, padding=4, padding_mode="reflect"),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` in [0, 1] to the same shape, in float32; in [0, 1] if clamped."""
        y = self.down(with_noise(x))
        for block in self.blocks:
            y = block(with_noise(y))
        delta: Tensor = self.up(y).float().tanh()
        size = delta.abs().mean((1, 2, 3), keepdim=True).clamp_min(1e-4)
        view = x + self.budget * delta / size
        return view.clamp(0, 1) if self.clamp else view


class ResidualBlock(Network):
    """Two convolutions with InstanceNorm and a ReLU between them, added to the input."""

    def __init__(self, channels: int):
        super().__init__()
        self.layers = nn.Sequential(layer(channels, channels, 3), *layer(channels, channels, 3)[:2])

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W) -> (N, C, H, W)``."""
        y: Tensor = self.layers(x)
        return x + y


def layer(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Sequential:
    """Convolution with reflection padding, InstanceNorm with scale and shift, ReLU."""
    convolution = nn.Conv2d(inputs, outputs, size, stride, size // 2, padding_mode="reflect")
    return nn.Sequential(convolution, nn.InstanceNorm2d(outputs, affine=True), nn.ReLU())


def with_noise(x: Tensor) -> Tensor:
    """Images ``(N, C, H, W)`` with one additional channel of uniform noise in [0, 1)."""
    return torch.cat([x, torch.rand_like(x[:, :1])], 1)
