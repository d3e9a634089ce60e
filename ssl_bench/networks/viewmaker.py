"""A network that makes views: bounded perturbations of images, random by noise that it is given."""

import torch
from torch import Tensor, nn

from ssl_bench.errors import UserError
from ssl_bench.networks.interfaces import Network


class ViewMakerNetwork(Network):
    """Images in [0, 1] to images: ``x + delta`` (Tamkin et al. 2021, arXiv 2010.07432, section 3.2 and appendix A).

    Down to a quarter of the size, residual blocks each of which is given one more channel of uniform noise, and up
    again. The mean over an image's pixels of ``|delta|`` is `budget`, whatever the network's scale (that of an image
    which delta leaves alone, below 1e-4 before scaling, is less).

    Args:
        image_shape: (C, H, W); H and W are 8 or more and divided by 4.
        width: channels of the first layer; two and four times as many follow. 32 is the published network.
        blocks: residual blocks; 3 in the runs of "Constructive Assimilation".
        budget: mean absolute change of a pixel.
        clamp: cut the result to [0, 1], after which the change may be less than the budget. The published class does;
            its released configurations, those of "Constructive Assimilation" among them, do not.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        width: int = 32,
        blocks: int = 3,
        budget: float = 0.05,
        clamp: bool = True,
    ):
        super().__init__()
        channels, *size = image_shape
        if any(side % 4 or side < 8 for side in size):
            raise UserError(f"ViewMakerNetwork: images of {tuple(image_shape)}: give sides of 8 or more that 4 divides")
        if not 0 < budget <= 1 or width < 1 or blocks < 0:
            raise UserError(
                f"ViewMakerNetwork: budget {budget}, width {width}, blocks {blocks}: give a budget in (0, 1], a width "
                "of 1 or more and 0 or more blocks"
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
        """``(N, C, H, W)`` in [0, 1] to the same shape, in float32; in [0, 1] where it is clamped."""
        y = self.down(with_noise(x))
        for block in self.blocks:
            y = block(with_noise(y))
        delta: Tensor = self.up(y).float().tanh()
        size = delta.abs().mean((1, 2, 3), keepdim=True).clamp_min(1e-4)
        view = x + self.budget * delta / size
        return view.clamp(0, 1) if self.clamp else view


class ResidualBlock(Network):
    """Two convolutions with InstanceNorm, ReLU between them, added to what they are given."""

    def __init__(self, channels: int):
        super().__init__()
        self.layers = nn.Sequential(layer(channels, channels, 3), *layer(channels, channels, 3)[:2])

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W) -> (N, C, H, W)``."""
        y: Tensor = self.layers(x)
        return x + y


def layer(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Sequential:
    """Convolution over a reflected border, InstanceNorm with scale and shift, ReLU."""
    convolution = nn.Conv2d(inputs, outputs, size, stride, size // 2, padding_mode="reflect")
    return nn.Sequential(convolution, nn.InstanceNorm2d(outputs, affine=True), nn.ReLU())


def with_noise(x: Tensor) -> Tensor:
    """Images ``(N, C, H, W)`` with one more channel, of uniform noise in [0, 1)."""
    return torch.cat([x, torch.rand_like(x[:, :1])], 1)
