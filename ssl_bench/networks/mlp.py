"""Fully connected networks: encoder and decoder, generator and discriminator."""

import itertools
import math

from torch import Tensor, nn

from ssl_bench.errors import UserError
from ssl_bench.networks.interfaces import HeadedDiscriminator, Network
from ssl_bench.ranges import PositiveFloat, PositiveInt, check_ranges


def mlp(*widths: int, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Make linear layers of these widths, with an activation between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1])


@check_ranges
class MLPEncoder(Network):
    """Images or points ``(N, ...)`` to vectors ``(N, outputs)``.

    Args:
        image_shape: shape of one input.
        outputs: length of one output.
        hidden: widths of the hidden layers; the default is SimVAE's for MNIST and FashionMNIST (released code).
    """

    def __init__(
        self, image_shape: tuple[int, ...], outputs: PositiveInt, hidden: tuple[PositiveInt, ...] = (2000, 500, 500)
    ):
        super().__init__()
        self.layers = mlp(math.prod(image_shape), *hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, *image_shape) -> (N, outputs)``."""
        outputs: Tensor = self.layers(x.flatten(1))
        return outputs


@check_ranges
class MLPDecoder(Network):
    """Latents ``(N, inputs)`` to image logits ``(N, *image_shape)``; their sigmoid is the image.

    Args:
        inputs: length of one latent.
        image_shape: shape of one output.
        hidden: widths of the hidden layers; the default mirrors `MLPEncoder`.
    """

    def __init__(
        self, inputs: PositiveInt, image_shape: tuple[int, ...], hidden: tuple[PositiveInt, ...] = (500, 500, 2000)
    ):
        super().__init__()
        self.image_shape = tuple(image_shape)
        self.layers = mlp(inputs, *hidden, math.prod(image_shape))

    def forward(self, z: Tensor) -> Tensor:
        """``(N, inputs) -> (N, *image_shape)``."""
        logits: Tensor = self.layers(z).unflatten(1, self.image_shape)
        return logits


@check_ranges
class MLPDiscriminator(HeadedDiscriminator):
    """The structural GAN's discriminator for points: images or points ``(N, ...)`` to vectors ``(N, outputs)``.

    The paper does not describe the networks of its double spiral experiment. Here ELU and the head are those of the
    paper's image discriminator; weights are Kaiming-normal.

    Args:
        image_shape: shape of one input.
        outputs: length of one output.
        hidden: widths of the hidden layers; the output of the last hidden layer is scored.
        input_std: standard deviation of the inputs. The biases of the first layer are uniform in [-1.5 * input_std,
            1.5 * input_std], so that the kinks of the layer cover the data.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        outputs: PositiveInt,
        hidden: tuple[PositiveInt, ...] = (128, 128, 128),
        input_std: PositiveFloat = 1.0,
    ):
        super().__init__()
        if not hidden:
            raise UserError("MLPDiscriminator: hidden []: give the width of one layer or more")
        self.feature_dim = hidden[-1]
        self.backbone = nn.Sequential(nn.Flatten(), *mlp(math.prod(image_shape), *hidden, activation=nn.ELU), nn.ELU())
        self.head = mlp(self.feature_dim, self.feature_dim, outputs, activation=nn.ELU)
        layers = [module for module in self.backbone if isinstance(module, nn.Linear)]
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.uniform_(layers[0].bias, -1.5 * input_std, 1.5 * input_std)

    def features(self, x: Tensor) -> Tensor:
        """The backbone's output: ``(N, *image_shape) -> (N, feature_dim)``."""
        features: Tensor = self.backbone(x)
        return features


@check_ranges
class MLPGenerator(Network):
    """Latents ``(N, latent_dim)`` to images in [-1, 1] or unbounded points, ``(N, *image_shape)``.

    Args:
        latent_dim: length of one latent.
        image_shape: shape of one output; ``(C, H, W)`` is an image, any other shape a point.
        hidden: widths of the hidden layers, each followed by BatchNorm and ReLU as in the image generators.
        output_std: factor on points, the standard deviation of the data; images are not scaled.
    """

    def __init__(
        self,
        latent_dim: PositiveInt,
        image_shape: tuple[int, ...],
        hidden: tuple[PositiveInt, ...] = (128, 128, 128),
        output_std: PositiveFloat = 1.0,
    ):
        super().__init__()
        if not hidden:
            raise UserError("MLPGenerator: hidden []: give the width of one layer or more")
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise((latent_dim, *hidden)):
            layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
        self.layers = nn.Sequential(
            *layers,
            nn.Linear(hidden[-1], math.prod(image_shape)),
            nn.Unflatten(1, tuple(image_shape)),
            nn.Tanh() if len(image_shape) == 3 else nn.Identity(),
        )
        self.factor = 1.0 if len(image_shape) == 3 else output_std

    def forward(self, z: Tensor) -> Tensor:
        """``(N, latent_dim) -> (N, *image_shape)``."""
        images: Tensor = self.factor * self.layers(z)
        return images
