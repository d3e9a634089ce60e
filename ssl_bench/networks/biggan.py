"""BigGAN's generator and discriminator (Brock et al. 2019), without classes.

Every weight is spectrally normalised and starts orthogonal; one residual block a stage. 4.28 M and 4.20 M parameters
at 32 px, the BigGAN of the structural GAN's Table 4 (4.3 M and 4.2 M). Without classes nothing is left to condition
BatchNorm on, so the generator's is the ordinary one and the latent enters at the bottom only, as in its CIFAR setting.
"""

import itertools

from torch import Tensor, nn
from torch.nn import functional as F

from ssl_bench.errors import UserError
from ssl_bench.networks.attention import SelfAttention
from ssl_bench.networks.biggan_deep import arrangement
from ssl_bench.networks.interfaces import HeadedDiscriminator, Network
from ssl_bench.networks.spectral import normalize_spectrally


class BigGANGenerator(Network):
    """Latents to images in [-1, 1]: ``(N, latent_dim) -> (N, C, H, H)``.

    Args:
        latent_dim: length of one latent.
        image_shape: (C, H, H) of one image, see `arrangement`; from 64 px on with self-attention at 64 px.
        width: BigGAN's ``ch``; 64 for CIFAR, 96 for ImageNet.

    Raises:
        UserError: a size it cannot draw.
    """

    def __init__(self, latent_dim: int, image_shape: tuple[int, ...], width: int = 64):
        super().__init__()
        if width < 1:
            raise UserError(f"BigGANGenerator: width {width}: give 1 or more")
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


class BigGANDiscriminator(HeadedDiscriminator):
    """Images to a few numbers: ``(N, C, H, W) -> (N, outputs)``; no image sees another.

    Up to 63 px the CIFAR arrangement, whose first two of four blocks halve the image; up to 127 px the one for 64 px,
    of five blocks; above the one for 128 px, of six blocks and self-attention after the first.

    Args:
        image_shape: (C, H, W) of one image; H and W 8 or more.
        outputs: length of one output.
        width: BigGAN's ``ch``; 64 for CIFAR, 96 for ImageNet.

    Raises:
        UserError: the images are smaller, or no images.
    """

    def __init__(self, image_shape: tuple[int, ...], outputs: int, width: int = 64):
        super().__init__()
        if width < 1:
            raise UserError(f"BigGANDiscriminator: width {width}: give 1 or more")
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
        """The last feature map summed over its places: ``(N, C, H, W) -> (N, feature_dim)``."""
        maps: Tensor = self.backbone(x)
        return maps.sum((2, 3))


class UpBlock(Network):
    """Two 3x3 convolutions after BatchNorm and ReLU, the first at twice the size; a 1x1 convolution beside them."""

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
        # A 1x1 convolution commutes with repeating pixels, and has a quarter of the work before it.
        y = y + F.interpolate(self.shortcut(x), scale_factor=2)
        return y


class DownBlock(Network):
    """Two 3x3 convolutions after ReLU, then average pooling; beside them a 1x1 convolution to a new shape.

    The first block of a network takes the image as it is, without ReLU.
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
    """Start every convolution and linear layer orthogonal (Brock et al. 2019), then normalise them spectrally."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.orthogonal_(module.weight)
    normalize_spectrally(network)
