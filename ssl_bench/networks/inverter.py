"""Encoder of images to codes of a StyleGAN2 generator."""

import itertools

from torch import Tensor, nn

from ssl_bench.networks.equalized import EqualizedConv2d, EqualizedLinear, leaky
from ssl_bench.networks.interfaces import Network
from ssl_bench.networks.stylegan2 import ResidualBlock, stages


class InversionEncoder(Network):
    """StyleGAN2's residual blocks and one layer over their 4 x 4 map: ``(N, C, H, H) -> (N, outputs)``.

    What "Constructive Assimilation" inverted images with; no image sees another.

    Args:
        image_shape: (C, H, H) of one image, H a power of two from 8 to 256.
        outputs: length of one output; of a generator's codes, n_latent * style_dim.
        width: channels up to `plateau` px; 512 is the released network.
        plateau: size in px from which on channels halve with every doubling.

    Raises:
        UserError: a size it does not take.
    """

    def __init__(self, image_shape: tuple[int, ...], outputs: int, width: int = 512, plateau: int = 32):
        super().__init__()
        channels = stages(type(self), image_shape, width, plateau)[::-1]
        self.from_image = EqualizedConv2d(image_shape[0], channels[0], 1)
        self.blocks = nn.Sequential(*(ResidualBlock(a, b) for a, b in itertools.pairwise(channels)))
        self.head = EqualizedLinear(16 * channels[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, H) -> (N, outputs)``."""
        return self.head(self.blocks(leaky(self.from_image(x))).flatten(1))
