"""Typed interfaces of the networks of methods, and of the factories that build them.

A network that is given in a configuration must subclass the interface of its role. Interfaces define no parameters.
"""

from collections.abc import Callable

from torch import Generator, Tensor, nn

ImageShape = tuple[int, ...]
"""Shape of one image ``(C, H, W)``, or of one point ``(D,)``."""


class Network(nn.Module):
    """A module whose output is one tensor: encoders, decoders, projectors, predictors, generators, layers."""

    __call__: Callable[..., Tensor]


class Backbone(Network):
    """Images ``(N, C, H, W)`` to vectors ``(N, outputs)``, or to features ``(N, feature_dim)`` if ``outputs`` is 0.

    Attributes:
        feature_dim: length of the features.
    """

    feature_dim: int


class Discriminator(Network):
    """Images ``(N, C, H, W)`` to ``(N, outputs)``.

    Attributes:
        feature_dim: length of the features that are scored.
    """

    feature_dim: int

    def features(self, x: Tensor) -> Tensor:
        """The features that are scored: ``(N, C, H, W) -> (N, feature_dim)``."""
        raise NotImplementedError


class HeadedDiscriminator(Discriminator):
    """A discriminator whose outputs are computed from its features by a head.

    Attributes:
        head: network from features ``(N, feature_dim)`` to outputs ``(N, outputs)``.
    """

    head: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W) -> (N, outputs)``."""
        outputs: Tensor = self.head(self.features(x))
        return outputs


class LayeredDiscriminator(HeadedDiscriminator):
    """A discriminator whose blocks can be scored one by one.

    Attributes:
        layer_dims: length of each block's pooled features, the first block's first.
    """

    layer_dims: list[int]

    def layers(self, x: Tensor) -> list[Tensor]:
        """Pooled features of every block, one ``(N, layer_dims[l])`` each."""
        raise NotImplementedError

    def features(self, x: Tensor, layer: int | None = None) -> Tensor:
        """Pooled features ``(N, layer_dims[layer - 1])`` of one block, by default of the last."""
        raise NotImplementedError


class StyleGenerator(Network):
    """A generator that synthesises an image from codes, one code for each layer.

    ``generator(z)`` is ``generator.synthesis(generator.codes(z))``.

    Attributes:
        latent_dim: length of one latent z.
        style_dim: length of one code.
        n_latent: number of codes of an image.
        mapping: network from latents ``(N, latent_dim)`` to codes ``(N, style_dim)``.
        synthesis: network from codes ``(N, n_latent, style_dim)`` to images ``(N, C, H, W)``.
    """

    latent_dim: int
    style_dim: int
    n_latent: int
    mapping: Network
    synthesis: Network

    def codes(self, z: Tensor) -> Tensor:
        """``(N, latent_dim) -> (N, n_latent, style_dim)``."""
        raise NotImplementedError

    def mean_code(self, n: int = 4096, generator: Generator | None = None) -> Tensor:
        """Mean ``(style_dim,)`` of the codes of n latents."""
        raise NotImplementedError


# Factories: a method calls them to build its networks, when the shape of the images is known.
EncoderFactory = Callable[[ImageShape, int], Network]
"""(image_shape, outputs) to a network ``(N, C, H, W) -> (N, outputs)``."""
DecoderFactory = Callable[[int, ImageShape], Network]
"""(inputs, image_shape) to a network ``(N, inputs) -> (N, C, H, W)``."""
BackboneFactory = Callable[[ImageShape, int], Backbone]
"""(image_shape, 0) to a backbone ``(N, C, H, W) -> (N, feature_dim)``."""
ProjectorFactory = Callable[[int], Network]
"""(inputs) to a head ``(N, inputs) -> (N, d)``."""
PredictorFactory = Callable[[int, int], Network]
"""(inputs, outputs) to a head ``(N, inputs) -> (N, outputs)``."""
GeneratorFactory = Callable[[int, ImageShape], Network]
"""(latent_dim, image_shape) to a network ``(N, latent_dim) -> (N, C, H, W)``, images in [-1, 1]."""
StyleGeneratorFactory = Callable[[int, ImageShape], StyleGenerator]
"""(latent_dim, image_shape) to a generator with codes."""
DiscriminatorFactory = Callable[[ImageShape, int], Discriminator]
"""(image_shape, outputs) to a discriminator ``(N, C, H, W) -> (N, outputs)``."""
ViewmakerFactory = Callable[[ImageShape], Network]
"""(image_shape) to a network from images in [0, 1] to views of the same shape."""
