"""BigGAN-deep's generator (Brock et al. 2019), without classes."""

import itertools

from torch import Tensor, nn
from torch.nn import functional as F

from ssl_bench.errors import UserError
from ssl_bench.networks.attention import SelfAttention
from ssl_bench.networks.doubling import doublings
from ssl_bench.networks.interfaces import Network
from ssl_bench.networks.spectral import normalize_spectrally


def arrangement(image_shape: tuple[int, ...]) -> tuple[int, list[int]]:
    """The size of the first feature map and the channels before each doubling and at the end, in units of ``ch``.

    32 px is the published CIFAR arrangement, 64 and 128 px those of ImageNet (Brock et al. 2019, appendix B); sizes
    between have the stages of the one below, smaller ones fewer stages of the CIFAR arrangement.

    Raises:
        UserError: a size that cannot be drawn, see `doublings`.
    """
    bottom, stages = doublings(image_shape)
    return bottom, {4: [16, 16, 8, 4, 2], 5: [16, 16, 8, 4, 2, 1]}.get(stages, [4] * (stages + 1))


class BigGANDeepGenerator(Network):
    """Latents to images in [-1, 1]: ``(N, latent_dim) -> (N, C, H, H)``.

    Where classes would enter, the conditional BatchNorms see the latent only, after a linear layer of its length, as
    the structural GAN's release has it. Every weight is spectrally normalised. Two residual blocks a stage, the
    second of which doubles the image; from 64 px on self-attention at 64 px (after the fourth stage). Initialised as
    there: Kaiming-normal at the sizes of CIFAR, orthogonal from 64 px on. 5.03 M parameters at 32 px (the paper says
    4.9 M).

    Args:
        latent_dim: length of one latent.
        image_shape: (C, H, H) of one image, see `arrangement`.
        width: BigGAN's ``ch``; 128 is the published network.

    Raises:
        UserError: a size it cannot draw.
    """

    def __init__(self, latent_dim: int, image_shape: tuple[int, ...], width: int = 128):
        super().__init__()
        if width < 1:
            raise UserError(f"BigGANDeepGenerator: width {width}: give 1 or more")
        bottom, multiples = arrangement(image_shape)
        channels = [width * multiple for multiple in multiples]
        self.latent = nn.Linear(latent_dim, latent_dim)
        self.start = nn.Sequential(
            nn.Linear(latent_dim, channels[0] * bottom**2), nn.Unflatten(1, (channels[0], bottom, bottom))
        )
        self.stages = nn.ModuleList()
        for stage, (inputs, outputs) in enumerate(itertools.pairwise(channels), start=1):
            blocks = [
                BottleneckBlock(inputs, inputs, latent_dim, up=False),
                BottleneckBlock(inputs, outputs, latent_dim, up=True),
            ]
            self.stages.append(nn.ModuleList([*blocks, SelfAttention(outputs)] if stage == 4 else blocks))
        self.output = nn.Sequential(
            nn.BatchNorm2d(channels[-1]), nn.ReLU(), nn.Conv2d(channels[-1], image_shape[0], 3, padding=1), nn.Tanh()
        )
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                if len(self.stages) >= 4:
                    nn.init.orthogonal_(module.weight)
                else:
                    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        normalize_spectrally(self)

    def forward(self, z: Tensor) -> Tensor:
        """``(N, latent_dim) -> (N, C, H, H)`` in [-1, 1]."""
        z = self.latent(z)
        x: Tensor = self.start(z)
        for stage in self.stages:
            for layer in stage.children():
                x = layer(x, z) if isinstance(layer, BottleneckBlock) else layer(x)
        images: Tensor = self.output(x)
        return images


class BottleneckBlock(Network):
    """1x1, 3x3, 3x3 and 1x1 convolutions, each after conditional BatchNorm and ReLU, through a quarter of the channels.

    The shortcut drops the channels that are too many.
    """

    def __init__(self, inputs: int, outputs: int, latent_dim: int, up: bool):
        super().__init__()
        hidden = max(1, inputs // 4)
        self.norms = nn.ModuleList(ConditionalBatchNorm(n, latent_dim) for n in (inputs, hidden, hidden, hidden))
        self.convolutions = nn.ModuleList(
            [
                nn.Conv2d(inputs, hidden, 1),
                nn.Conv2d(hidden, hidden, 3, padding=1),
                nn.Conv2d(hidden, hidden, 3, padding=1),
                nn.Conv2d(hidden, outputs, 1),
            ]
        )
        self.outputs, self.up = outputs, up

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` and ``(N, latent_dim)`` to ``(N, outputs, H, W)``, twice the size if ``up``."""
        y, x = x, x[:, : self.outputs]
        for i, (norm, convolution) in enumerate(zip(self.norms, self.convolutions, strict=True)):
            y = norm(y, z).relu()
            if i == 1 and self.up:
                y, x = (F.interpolate(part, scale_factor=2) for part in (y, x))
            y = convolution(y)
        return x + y


class ConditionalBatchNorm(Network):
    """BatchNorm whose gain and bias are linear in a latent: gain ``1 + A z``, bias ``B z``."""

    def __init__(self, channels: int, latent_dim: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain = nn.Linear(latent_dim, channels, bias=False)
        self.bias = nn.Linear(latent_dim, channels, bias=False)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """``(N, channels, H, W)`` and ``(N, latent_dim)`` to the shape of the first."""
        gain, bias = (part(z)[:, :, None, None] for part in (self.gain, self.bias))
        y: Tensor = self.norm(x) * (1 + gain) + bias
        return y
