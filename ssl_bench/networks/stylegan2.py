"""Generator and discriminator of StyleGAN2 (Karras et al. 2020, arXiv 1912.04958) in plain PyTorch.

This is configuration F of the paper: a mapping network, a synthesis network of modulated convolutions that sums images
of increasing size (Fig. 7b), and a residual discriminator (Fig. 7c). All networks can be differentiated twice.
"""

import itertools
import math

import torch
from torch import Generator, Tensor, nn

from ssl_bench.errors import UserError
from ssl_bench.networks.equalized import EqualizedConv2d, EqualizedLinear, Upsample, leaky, pixel_norm
from ssl_bench.networks.interfaces import Discriminator, Network, StyleGenerator
from ssl_bench.networks.modulated import StyledConv, ToImage
from ssl_bench.ranges import PositiveInt, UnitFloat, check_ranges

SIZES = (8, 16, 32, 64, 128, 256)
GROUP = 4
"""Largest size of the groups of images whose standard deviation is an input of the discriminator's head."""


def stages(network: str, image_shape: tuple[int, ...], width: int, plateau: int) -> list[int]:
    """Return the numbers of channels at 4 px, 8 px, ... up to the image's size.

    Raises:
        UserError: the image is not square or its size is not supported; the message names the network.
    """
    if len(image_shape) != 3 or image_shape[1] != image_shape[2] or image_shape[1] not in SIZES:
        known = ", ".join(map(str, SIZES))
        raise UserError(f"{network}: images of shape {tuple(image_shape)}: give square ones of {known} px")
    sizes = [size for size in (4, *SIZES) if size <= image_shape[1]]
    return [max(1, width * plateau // max(size, plateau)) for size in sizes]


@check_ranges
class StyleGAN2Generator(StyleGenerator):
    """Latents to images in about [-1, 1]: ``(N, latent_dim) -> (N, C, H, H)``.

    Args:
        latent_dim: length of one latent.
        image_shape: (C, H, H) of one image, H a power of two from 8 to 256.
        width: number of channels up to `plateau` px; 512 is the published network.
        plateau: size in px up to which there are `width` channels; above, the number halves with every doubling. 64 is
            the published network for FFHQ (``channel_multiplier 2``), 32 is the smaller version.
        style_dim: length of one code.
        mapping_layers: number of layers of the mapping network.
        mixing: probability of style mixing in training. The layers of a mixed image use the code of one latent before a
            random layer, and that of a second latent from this layer on (StyleGAN, section 3.1).

    Attributes:
        n_latent: number of codes of an image, ``2 log2(H) - 2``: one for each convolution and one for the last image
            of the sum.
        style_dim: length of one code.
        mapping: network from latents ``(N, latent_dim)`` to codes ``(N, style_dim)``.
        synthesis: network from codes ``(N, n_latent, style_dim)`` to images ``(N, C, H, H)``.

    Raises:
        UserError: the image size is not supported.
    """

    def __init__(
        self,
        latent_dim: PositiveInt,
        image_shape: tuple[int, ...],
        width: PositiveInt = 512,
        plateau: PositiveInt = 64,
        style_dim: PositiveInt = 512,
        mapping_layers: PositiveInt = 8,
        mixing: UnitFloat = 0.9,
    ):
        super().__init__()
        channels = stages(type(self).__name__, image_shape, width, plateau)
        self.latent_dim, self.style_dim, self.n_latent, self.mixing = latent_dim, style_dim, 2 * len(channels), mixing
        self.mapping = Mapping(latent_dim, style_dim, mapping_layers)
        self.synthesis = Synthesis(channels, image_shape[0], style_dim)

    def forward(self, z: Tensor) -> Tensor:
        """``(N, latent_dim) -> (N, C, H, H)``."""
        return self.synthesis(self.codes(z))

    def codes(self, z: Tensor) -> Tensor:
        """``(N, latent_dim) -> (N, n_latent, style_dim)``, one code for all layers; in training see `mixing`."""
        codes: Tensor = self.mapping(z).unsqueeze(1).expand(-1, self.n_latent, -1)
        if not self.training or not self.mixing:
            return codes
        start = torch.randint(1, self.n_latent, (len(z), 1), device=z.device)
        mixed = torch.rand(len(z), 1, device=z.device) < self.mixing
        from_second = mixed & (torch.arange(self.n_latent, device=z.device) >= start)
        return torch.where(from_second.unsqueeze(2), self.mapping(torch.randn_like(z)).unsqueeze(1), codes)

    @torch.no_grad()
    def mean_code(self, n: int = 4096, generator: Generator | None = None) -> Tensor:
        """Mean ``(style_dim,)`` of the codes of n latents, by default of the same latents in every call."""
        generator = generator or torch.Generator().manual_seed(0)
        z = torch.randn(n, self.latent_dim, generator=generator, device=generator.device)
        return self.mapping(z.to(next(self.parameters()).device)).mean(0)


class Mapping(Network):
    """Latents to codes: ``(N, latent_dim) -> (N, style_dim)``, in float32 at any precision.

    Latents are scaled to a root mean square of 1 (StyleGAN, arXiv 1812.04948, appendix C). The learning rate of the
    layers is 0.01 times the learning rate of the optimizer.
    """

    def __init__(self, latent_dim: int, style_dim: int, layers: int):
        super().__init__()
        dims = [latent_dim, *[style_dim] * layers]
        self.layers = nn.ModuleList(EqualizedLinear(a, b, multiplier=0.01) for a, b in itertools.pairwise(dims))

    def forward(self, z: Tensor) -> Tensor:
        """``(N, latent_dim) -> (N, style_dim)``."""
        with torch.autocast(z.device.type, enabled=False):
            x = pixel_norm(z.to(next(self.parameters()).dtype))
            for layer in self.layers:
                x = leaky(layer(x))
            return x


class Synthesis(Network):
    """Codes to images: ``(N, n_latent, style_dim) -> (N, C, H, H)``.

    Each code but the last modulates a 3x3 convolution. Every second code, from the second to the last, also modulates a
    layer that adds to the image.

    Args:
        channels: numbers of channels at 4 px, 8 px, ...
        outputs: number of channels of an image.
        style_dim: length of one code.
    """

    def __init__(self, channels: list[int], outputs: int, style_dim: int):
        super().__init__()
        self.constant = nn.Parameter(torch.randn(1, channels[0], 4, 4))
        layers = [StyledConv(channels[0], channels[0], 4, style_dim)]
        for stage, (below, here) in enumerate(itertools.pairwise(channels), start=1):
            layers += [
                StyledConv(below, here, 4 * 2**stage, style_dim, up=True),
                StyledConv(here, here, 4 * 2**stage, style_dim),
            ]
        self.layers = nn.ModuleList(layers)
        self.to_images = nn.ModuleList(ToImage(here, outputs, style_dim) for here in channels)
        self.upsample = Upsample()

    def forward(self, codes: Tensor) -> Tensor:
        """``(N, n_latent, style_dim) -> (N, C, H, H)``."""
        code = codes.unbind(1)
        x = self.constant.expand(len(codes), -1, -1, -1)
        image: Tensor | None = None
        for index, layer in enumerate(self.layers):
            x = layer(x, code[index])
            if index % 2 == 0:
                new = self.to_images[index // 2](x, code[index + 1])
                image = new if image is None else self.upsample(image) + new
        assert image is not None
        return image


@check_ranges
class StyleGAN2Discriminator(Discriminator):
    """Images in [-1, 1] to vectors, ``(N, C, H, H) -> (N, outputs)``.

    The head's input contains the standard deviation over groups of consecutive images. The size of a group is the
    largest of 4, 2 and 1 that divides N. The features do not depend on other images.

    Args:
        image_shape: (C, H, H) of one image, H a power of two from 8 to 256.
        outputs: length of one output.
        width: see `StyleGAN2Generator`.
        plateau: see `StyleGAN2Generator`.

    Attributes:
        feature_dim: number of channels at 4 px.

    Raises:
        UserError: the image size is not supported.
    """

    def __init__(
        self, image_shape: tuple[int, ...], outputs: PositiveInt, width: PositiveInt = 512, plateau: PositiveInt = 64
    ):
        super().__init__()
        channels = stages(type(self).__name__, image_shape, width, plateau)[::-1]
        self.from_image = EqualizedConv2d(image_shape[0], channels[0], 1)
        self.blocks = nn.Sequential(*(ResidualBlock(a, b) for a, b in itertools.pairwise(channels)))
        self.feature_dim = channels[-1]
        self.conv = EqualizedConv2d(self.feature_dim + 1, self.feature_dim, 3)
        self.hidden = EqualizedLinear(16 * self.feature_dim, self.feature_dim)
        self.head = EqualizedLinear(self.feature_dim, outputs)

    def maps(self, x: Tensor) -> Tensor:
        """The blocks' output, which does not depend on other images: ``(N, C, H, H) -> (N, feature_dim, 4, 4)``."""
        maps: Tensor = self.blocks(leaky(self.from_image(x)))
        return maps

    def features(self, x: Tensor) -> Tensor:
        """The features that are scored, `maps` averaged over positions: ``(N, C, H, H) -> (N, feature_dim)``."""
        return self.maps(x).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, H) -> (N, outputs)``."""
        y = self.maps(x)
        y = leaky(self.conv(torch.cat([y, minibatch_deviation(y)], 1)))
        return self.head(leaky(self.hidden(y.flatten(1))))


class ResidualBlock(Network):
    """Two 3x3 convolutions and a 1x1 shortcut, which halve the image; the scaled sum preserves the variance."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv1 = EqualizedConv2d(inputs, inputs, 3)
        self.conv2 = EqualizedConv2d(inputs, outputs, 3, down=True)
        self.skip = EqualizedConv2d(inputs, outputs, 1, bias=False, down=True)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W) -> (N, outputs, H / 2, W / 2)``."""
        return (leaky(self.conv2(leaky(self.conv1(x)))) + self.skip(x)) / math.sqrt(2)


def minibatch_deviation(x: Tensor) -> Tensor:
    """Standard deviation over each group of consecutive images, averaged over all positions.

    Karras et al. 2017 (arXiv 1710.10196, section 3). Groups consist of consecutive images, so that one process and two
    processes with half of the batch each form the same groups.

    Args:
        x: ``(N, C, H, W)``.

    Returns:
        ``(N, 1, H, W)``, constant within an image.
    """
    groups = x.unflatten(0, (-1, math.gcd(len(x), GROUP))).float()
    variance = (groups - groups.mean(1, keepdim=True)).square().mean(1)  # six times as fast as `var` on a CPU
    deviation = (variance + 1e-8).sqrt().mean((1, 2, 3))
    each: Tensor = deviation.repeat_interleave(groups.shape[1]).to(x.dtype)[:, None, None, None]
    return each.expand(-1, 1, *x.shape[2:])
