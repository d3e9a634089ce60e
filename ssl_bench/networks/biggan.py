"""BigGAN's generator and discriminator (Brock et al. 2019), without classes.

Every weight is spectrally normalised and initialised orthogonally; each stage has one residual block. At 32 px,
generator and discriminator have 4.28 M and 4.20 M parameters, like the BigGAN in Table 4 of the structural GAN paper
(4.3 M and 4.2 M). Without classes, the generator's BatchNorm is unconditional, and the latent is an input of the first
layer only, as in BigGAN's CIFAR setting.
"""

import itertools

from torch import Tensor, nn
from torch.nn import functional as F

from ssl_bench.errors import UserError
from ssl_bench.networks.attention import SelfAttention
from ssl_bench.networks.biggan_deep import arrangement
from ssl_bench.networks.interfaces import HeadedDiscriminator, Network
from ssl_bench.networks.spectral import normalize_spectrally
from ssl_bench.ranges import PositiveInt, check_ranges


@check_ranges
class BigGANGenerator(Network):
    """Latents to images in [-1, 1]: ``(N, latent_dim) -> (N, C, H, H)``.

    Args:
        latent_dim: length of one latent.
        image_shape: (C, H, H) of one image, see `arrangement`. From 64 px on, self-attention follows the fourth stage.
        width: BigGAN's ``ch``; 64 for CIFAR, 96 for ImageNet.

    Raises:
        UserError: the generator does not support this image size.
    """

    def __init__(self, latent_dim: PositiveInt, image_shape: tuple[int, ...], width: PositiveInt = 64):
        super().__init__()
        bottom, multiples = arrangement(image_shape)
        channels = [width * multiple for multiple in multiples]
        layers: list[nn.Module] = [
            nn.Linear(latent_dim, channels[0] * bottom**2),
            nn.Unflatten(1, (channels[0], bottom, bottom)),
        ]
        for stage, (inputs, outputs) in enumerate(itertools.pairwise(channels), start=1):
            layers.append(UpBlock(inputs, outputs))
            if stage == 4:
                layers.append(SelfAttention(outputs))
        layers += [
            nn.BatchNorm2d(channels[-1]),
            nn.ReLU(),
            nn.Conv2d(channels[-1], image_shape[0], 3, padding=1),
            nn.Tanh(),
        ]
        self.layers = nn.Sequential(*layers)
        normalize_orthogonal(self)

    def forward(self, z: Tensor) -> Tensor:
        """``(N, latent_dim) -> (N, C, H, H)`` in [-1, 1]."""
        images: Tensor = self.layers(z)
        return images


@check_ranges
class BigGANDiscriminator(HeadedDiscriminator):
    """Images to vectors: ``(N, C, H, W) -> (N, outputs)``; images of a batch do not interact.

    Below 64 px it has the CIFAR layout of four blocks, of which the first two halve the image. From 64 px on it has the
    64-px layout of five blocks. From 128 px on it has the 128-px layout of six blocks, with self-attention after the
    first block.

    Args:
        image_shape: (C, H, W) of one image; H and W 8 or more.
        outputs: length of one output.
        width: BigGAN's ``ch``; 64 for CIFAR, 96 for ImageNet.

    Raises:
        UserError: the inputs are not images, or are smaller than 8 px.
    """

    def __init__(self, image_shape: tuple[int, ...], outputs: PositiveInt, width: PositiveInt = 64):
        super().__init__()
        if len(image_shape) != 3 or min(image_shape[1:]) < 8:
            raise UserError(f"BigGANDiscriminator takes images (C, H, W) of 8 px or more, not {tuple(image_shape)}")
        size = min(image_shape[1:])
        if size < 64:
            multiples, halvings = [4, 4, 4, 4], 2
        else:
            multiples, halvings = ([1, 2, 4, 8, 16], 4) if size < 128 else ([1, 2, 4, 8, 16, 16], 5)
        channels = [image_shape[0], *(width * multiple for multiple in multiples)]
        layers: list[nn.Module] = []
        for block, (inputs, outputs_) in enumerate(itertools.pairwise(channels)):
            layers.append(DownBlock(inputs, outputs_, first=block == 0, down=block < halvings))
            if block == 0 and size >= 128:
                layers.append(SelfAttention(outputs_))
        self.backbone = nn.Sequential(*layers, nn.ReLU())
        self.feature_dim = channels[-1]
        self.head = nn.Linear(self.feature_dim, outputs)
        normalize_orthogonal(self)

    def features(self, x: Tensor) -> Tensor:
        """The last feature map summed over its positions: ``(N, C, H, W) -> (N, feature_dim)``."""
        maps: Tensor = self.backbone(x)
        return maps.sum((2, 3))


class UpBlock(Network):
    """Two 3x3 convolutions after BatchNorm and ReLU, the first at twice the size; a 1x1 convolution as shortcut."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W) -> (N, outputs, 2 H, 2 W)``."""
        y: Tensor = self.conv1(F.interpolate(self.norm1(x).relu(), scale_factor=2))
        y = self.conv2(self.norm2(y).relu())
        # A 1x1 convolution commutes with repeating pixels; before it, the convolution takes a quarter of the time.
        y = y + F.interpolate(self.shortcut(x), scale_factor=2)
        return y


class DownBlock(Network):
    """Two 3x3 convolutions after ReLU, then average pooling; a 1x1 convolution as shortcut where the shape changes.

    The first block of a network has no ReLU before its first convolution.
    """

    def __init__(self, inputs: int, outputs: int, first: bool, down: bool):
        super().__init__()
        self.activation = nn.Identity() if first else nn.ReLU()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.pool = nn.AvgPool2d(2) if down else nn.Identity()
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if down or inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W) -> (N, outputs, H, W)``, half the size if ``down``."""
        y: Tensor = self.conv2(self.conv1(self.activation(x)).relu())
        y = self.pool(y) + self.shortcut(self.pool(x))
        return y


def normalize_orthogonal(network: nn.Module) -> None:
    """Initialise every convolution and linear layer orthogonally (Brock et al. 2019), then normalise spectrally."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.orthogonal_(module.weight)
    normalize_spectrally(network)
