"""BigGAN-deep's generator (Brock et al. 2019), without classes."""

import itertools

from torch import Tensor, nn
from torch.nn import functional as F

from ssl_bench.networks.attention import SelfAttention
from ssl_bench.networks.doubling import doublings
from ssl_bench.networks.interfaces import Network
from ssl_bench.networks.spectral import normalize_spectrally
from ssl_bench.ranges import PositiveInt, check_ranges


def arrangement(image_shape: tuple[int, ...]) -> tuple[int, list[int]]:
    """Return the size of the first feature map, and the channels of every stage in units of ``ch``.

    The channels are those before each doubling and after the last one. The layout at 32 px is the published one for
    CIFAR, the layouts at 64 and 128 px are those for ImageNet (Brock et al. 2019, appendix B). Sizes between these have
    the stages of the next smaller size. Sizes below 32 px have fewer stages of the CIFAR layout.

    Raises:
        UserError: the size is not supported, see `doublings`.
    """
    bottom, stages = doublings(image_shape)
    return bottom, {4: [16, 16, 8, 4, 2], 5: [16, 16, 8, 4, 2, 1]}.get(stages, [4] * (stages + 1))


@check_ranges
class BigGANDeepGenerator(Network):
    """Latents to images in [-1, 1]: ``(N, latent_dim) -> (N, C, H, H)``.

    As in the structural GAN's released code, the conditional BatchNorms depend on the latent only, not on classes. The
    latent first passes a linear layer that keeps its length. Every weight is spectrally normalised. Each stage has two
    residual blocks, and the second block doubles the image. From 64 px on, self-attention follows the fourth stage, at
    64 px. As in the released code, initialisation is Kaiming-normal below 64 px and orthogonal from 64 px on. At 32 px
    there are 5.03 M parameters (the paper states 4.9 M).

    Args:
        latent_dim: length of one latent.
        image_shape: (C, H, H) of one image, see `arrangement`.
        width: BigGAN's ``ch``; 128 is the published network.

    Raises:
        UserError: the generator does not support this image size.
    """

    def __init__(self, latent_dim: PositiveInt, image_shape: tuple[int, ...], width: PositiveInt = 128):
        super().__init__()
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
    """Residual block of 1x1, 3x3, 3x3 and 1x1 convolutions, each after conditional BatchNorm and ReLU.

    The hidden layers have a quarter of the input channels. The shortcut drops surplus channels.
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
        """Feature maps ``(N, channels, H, W)`` and latents ``(N, latent_dim)`` to ``(N, channels, H, W)``."""
        gain, bias = (part(z)[:, :, None, None] for part in (self.gain, self.bias))
        y: Tensor = self.norm(x) * (1 + gain) + bias
        return y
