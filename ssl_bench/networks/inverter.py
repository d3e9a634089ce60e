"""Encoder from images to codes of a StyleGAN2 generator."""

import itertools

from torch import Tensor, nn

from ssl_bench.networks.equalized import EqualizedConv2d, EqualizedLinear, leaky
from ssl_bench.networks.interfaces import Network
from ssl_bench.networks.stylegan2 import ResidualBlock, stages
from ssl_bench.ranges import PositiveInt, check_ranges


@check_ranges
class InversionEncoder(Network):
    """Encoder for inversion, with the residual blocks of StyleGAN2: ``(N, C, H, H) -> (N, outputs)``.

    One linear layer follows the 4 x 4 feature map of the blocks. This is the inversion encoder of "Constructive
    Assimilation". Images of a batch do not interact.

    Args:
        image_shape: (C, H, H) of one image, H a power of two from 8 to 256.
        outputs: length of one output; for codes of a generator, n_latent * style_dim.
        width: number of channels up to `plateau` px; 512 is the released network.
        plateau: size in px up to which there are `width` channels; above, the number halves with every doubling.

    Raises:
        UserError: the image size is not supported.
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
