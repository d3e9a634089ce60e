"""Encoder of images to codes of a StyleGAN2 generator."""

import itertools

from torch import Tensor, nn

from ssl_bench.networks.equalized import EqualizedConv2d, EqualizedLinear, leaky
from ssl_bench.networks.interfaces import Network
from ssl_bench.networks.stylegan2 import ResidualBlock, stages
from ssl_bench.ranges import PositiveInt, check_ranges


@check_ranges
class InversionEncoder(Network):
    """StyleGAN2's residual blocks and one layer over their 4 x 4 map: ``(N, C, H, H) -> (N, outputs)``.

    The inversion encoder of "Constructive Assimilation"; images of a batch do not interact.

    Args:
        image_shape: (C, H, H) of one image, H a power of two from 8 to 256.
        outputs: length of one output; for codes of a generator, n_latent * style_dim.
        width: channels up to `plateau` px; 512 is the released network.
        plateau: size in px up to which the channels are `width`; above it they halve with every doubling.

    Raises:
        UserError: an unsupported image size.
    """

    def __init__(
        self, image_shape: tuple[int, ...], outputs: PositiveInt, width: PositiveInt = 512, plateau: PositiveInt = 32
    ):
        super().__init__()
        channels = stages(type(self).__name__, image_shape, width, plateau)[::-1]
        self.from_image = EqualizedConv2d(image_shape[0], channels[0], 1)
        self.blocks = nn.Sequential(*(ResidualBlock(a, b) for a, b in itertools.pairwise(channels)))
        self.head = EqualizedLinear(16 * channels[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, H) -> (N, outputs)``."""
        return self.head(self.blocks(leaky(self.from_image(x))).flatten(1))
