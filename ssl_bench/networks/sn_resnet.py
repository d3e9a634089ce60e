"""Generator and discriminator of SNGAN and SSGAN (Miyato et al. 2018, Chen et al. 2019), in two published families.

Residual networks after Miyato et al. (arXiv 1802.05957, Table 4), as implemented in mimicry and compare_gan:

| | mimicry | compare_gan |
|---|---|---|
| doubling | bilinear, then 3x3 convolution | zeros between pixels, then 3x3 convolution |
| shortcuts | 1x1, where size or channels change | 3x3, always |
| first block of D | no leading ReLU | leading ReLU, as in every other block |
| pooling of D | sum | mean |
| range of images | [-1, 1] | [0, 1] |
| initialisation | Xavier-uniform, residual convolutions with gain sqrt 2 | N(0, 0.02), biases 0 |

In mimicry, ReLUs are in place, so that the shortcuts start after the first ReLU. Here, as in the paper, shortcuts start
before the first ReLU.
"""

import itertools
import math
from typing import Literal

from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from ssl_bench.errors import UserError
from ssl_bench.networks.doubling import doublings
from ssl_bench.networks.interfaces import LayeredDiscriminator, Network
from ssl_bench.networks.spectral import normalize_spectrally
from ssl_bench.ranges import PositiveInt, check_ranges

Family = Literal["mimicry", "compare_gan"]
Norm = Literal["spectral", "weight", "none"]


@check_ranges
class SNResNetGenerator(Network):
    """Latents to images in [-1, 1]: ``(N, latent_dim) -> (N, C, H, H)``.

    Below 64 px all blocks have `width` channels. From 64 px on, the number of channels decreases from 16 * width
    (mimicry) or 8 * width (compare_gan) to `width`. The weights are not normalised in either family. At 32 px there are
    4.28 M (mimicry) or 5.85 M (compare_gan) weights.

    Args:
        latent_dim: length of one latent.
        image_shape: (C, H, H) of one image, see `doublings`.
        width: channels of the last block; by default the published number, which is 256 below 64 px, else 64.
        family: published layout and initialisation, ``mimicry`` or ``compare_gan``; see the table in sn_resnet.py.

    Raises:
        UserError: the generator does not support this image size.
    """

    def __init__(
        self,
        latent_dim: PositiveInt,
        image_shape: tuple[int, ...],
        width: PositiveInt | None = None,
        family: Family = "mimicry",
    ):
        super().__init__()
        bottom, ups = doublings(image_shape)
        width = width or (64 if ups > 3 else 256)
        multiples = [1] * (ups + 1)
        if ups > 3:  # compare_gan has five blocks at 64 px as well; the last does not double
            large = {"mimicry": [16, 16, 8, 4, 2, 1][5 - ups :], "compare_gan": [8, 8, 4, 4, 2, 1]}
            multiples = large[family]
        channels = [width * multiple for multiple in multiples]
        self.layers = nn.Sequential(
            nn.Linear(latent_dim, channels[0] * bottom**2),
            nn.Unflatten(1, (channels[0], bottom, bottom)),
            *(
                GeneratorBlock(inputs, outputs, up=block < ups, family=family)
                for block, (inputs, outputs) in enumerate(itertools.pairwise(channels))
            ),
            nn.BatchNorm2d(channels[-1]),
            nn.ReLU(),
            nn.Conv2d(channels[-1], image_shape[0], 3, padding=1),
        )
        self.family = family
        initialize(self, family)

    def forward(self, z: Tensor) -> Tensor:
        """``(N, latent_dim) -> (N, C, H, H)`` in [-1, 1]."""
        y: Tensor = self.layers(z)
        return y.tanh() if self.family == "mimicry" else 2 * y.sigmoid() - 1


@check_ranges
class SNResNetDiscriminator(LayeredDiscriminator):
    """Images in [-1, 1] to vectors: ``(N, C, H, W) -> (N, outputs)``.

    Below 64 px there are four blocks of `width` channels, and the first two blocks halve the image. From 64 px on,
    mimicry has five blocks, whose channels increase from `width` to 16 * width; from 128 px on it has a sixth, which
    does not halve the image. From 64 px on, compare_gan has six blocks, whose channels increase from `width` to
    8 * width. At 32 px there are 1.05 M (mimicry) or 1.48 M (compare_gan) weights.

    Args:
        image_shape: (C, H, W) of one image; H and W 8 or more.
        outputs: length of one output.
        width: channels of the first block; by default the published number, which is 128 below 64 px, else 64.
        norm: normalisation of the weights of convolutions and linear layers: ``spectral``, ``weight`` (Salimans &
            Kingma 2016) or ``none``.
        family: published layout and initialisation, ``mimicry`` or ``compare_gan``; see the table in sn_resnet.py.

    Attributes:
        layer_dims: length of each block's pooled features.

    Raises:
        UserError: the inputs are not images, or are smaller than 8 px.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        outputs: PositiveInt,
        width: PositiveInt | None = None,
        norm: Norm = "spectral",
        family: Family = "mimicry",
    ):
        super().__init__()
        if len(image_shape) != 3 or min(image_shape[1:]) < 8:
            raise UserError(f"SNResNetDiscriminator takes images (C, H, W) of 8 px or more, not {tuple(image_shape)}")
        size = min(image_shape[1:])
        width = width or (64 if size >= 64 else 128)
        if size < 64:
            multiples, downs = [1, 1, 1, 1], 2
        elif family == "compare_gan":
            multiples, downs = [1, 2, 4, 4, 8, 8], 6
        else:
            multiples, downs = [1, 2, 4, 8, 16, *([16] if size >= 128 else [])], 5
        self.layer_dims = [width * multiple for multiple in multiples]
        self.blocks = nn.ModuleList(
            DiscriminatorBlock(inputs, outputs_, down=block < downs, first=block == 0, family=family)
            for block, (inputs, outputs_) in enumerate(itertools.pairwise([image_shape[0], *self.layer_dims]))
        )
        self.feature_dim = self.layer_dims[-1]
        self.head = nn.Linear(self.feature_dim, outputs)
        self.family = family
        initialize(self, family)
        if norm == "spectral":
            normalize_spectrally(self, eps=1e-12)
        elif norm == "weight":
            for module in list(self.modules()):
                if isinstance(module, (nn.Conv2d, nn.Linear)):
                    weight_norm(module)

    def layers(self, x: Tensor) -> list[Tensor]:
        """Outputs of each block after ReLU and pooling: one ``(N, layer_dims[l])`` per block."""
        found, x = [], self._input(x)
        for block in self.blocks:
            x = block(x)
            found.append(self._pool(x))
        return found

    def features(self, x: Tensor, layer: int | None = None) -> Tensor:
        """Pooled features ``(N, layer_dims[layer - 1])`` of one block, by default of the last."""
        x = self._input(x)
        for block in self.blocks[:layer]:
            x = block(x)
        return self._pool(x)

    def _input(self, x: Tensor) -> Tensor:
        return x if self.family == "mimicry" else (x + 1) / 2

    def _pool(self, x: Tensor) -> Tensor:
        return x.relu().sum((2, 3)) if self.family == "mimicry" else x.relu().mean((2, 3))


@check_ranges
class GeneratorBlock(Network):
    """Residual block: BatchNorm, ReLU, doubling, 3x3 convolution, BatchNorm, ReLU, 3x3 convolution; and a shortcut."""

    def __init__(self, inputs: int, outputs: int, up: bool, family: Family):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        if family == "mimicry":
            double = nn.Upsample(scale_factor=2, mode="bilinear") if up else nn.Identity()
            self.conv1: nn.Module = nn.Sequential(double, nn.Conv2d(inputs, outputs, 3, padding=1))
            # A 1x1 convolution commutes with interpolation; before it, the convolution takes a quarter of the time.
            self.shortcut: nn.Module = nn.Identity()
            if up or inputs != outputs:
                self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1), double)
        else:
            self.conv1, self.shortcut = (unpooling(inputs, outputs, up) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W) -> (N, outputs, H, W)``, twice the size if ``up``."""
        y: Tensor = self.conv1(self.norm1(x).relu())
        y = self.conv2(self.norm2(y).relu()) + self.shortcut(x)
        return y


@check_ranges
class DiscriminatorBlock(Network):
    """Residual block: ReLU, 3x3 convolution, ReLU, 3x3 convolution, average pooling if ``down``; and a shortcut."""

    def __init__(self, inputs: int, outputs: int, down: bool, first: bool, family: Family):
        super().__init__()
        mimicry = family == "mimicry"
        hidden = inputs if mimicry and not first else outputs
        self.activation = nn.Identity() if mimicry and first else nn.ReLU()
        self.conv1 = nn.Conv2d(inputs, hidden, 3, padding=1)
        self.conv2 = nn.Conv2d(hidden, outputs, 3, padding=1)
        self.pool = nn.AvgPool2d(2) if down else nn.Identity()
        if not mimicry:
            self.shortcut: nn.Module = nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), self.pool)
        elif down or inputs != outputs:
            # The convolution follows pooling: before it, the convolution would take four times the operations.
            self.shortcut = nn.Sequential(self.pool, nn.Conv2d(inputs, outputs, 1))
        else:
            self.shortcut = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W) -> (N, outputs, H, W)``, half the size if ``down``."""
        y: Tensor = self.conv2(self.conv1(self.activation(x)).relu())
        y = self.pool(y) + self.shortcut(x)
        return y


def unpooling(inputs: int, outputs: int, up: bool) -> nn.Module:
    """A 3x3 convolution; if ``up``, a transposed convolution, which first inserts zeros between the pixels."""
    if up:
        return nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def initialize(network: nn.Module, family: Family) -> None:
    """Initialise all weights as in the family's implementation."""
    residual = {m for b in network.modules() if isinstance(b, (GeneratorBlock, DiscriminatorBlock))
                for part in (b.conv1, b.conv2) for m in part.modules()}  # fmt: skip
    for module in network.modules():
        if not isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            continue
        if family == "mimicry":
            nn.init.xavier_uniform_(module.weight, math.sqrt(2) if module in residual else 1.0)
        else:
            nn.init.normal_(module.weight, std=0.02)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
