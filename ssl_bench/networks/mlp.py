"""Fully connected encoder and decoder."""

import itertools
import math

from torch import Tensor, nn


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers of these widths with ReLU between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class MLPEncoder(nn.Module):
    """Images or points ``(N, ...)`` to vectors ``(N, outputs)``.

    Args:
        image_shape: shape of one input.
        outputs: length of one output.
        hidden: widths of the hidden layers; the default is SimVAE's for MNIST and FashionMNIST (released code).
    """

    def __init__(self, image_shape: tuple[int, ...], outputs: int, hidden: tuple[int, ...] = (2000, 500, 500)):
        super().__init__()
        self.layers = mlp(math.prod(image_shape), *hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, *image_shape) -> (N, outputs)``."""
        return self.layers(x.flatten(1))  # type: ignore[no-any-return]


class MLPDecoder(nn.Module):
    """Latents ``(N, inputs)`` to image logits ``(N, *image_shape)``; their sigmoid is the image.

    Args:
        inputs: length of one latent.
        image_shape: shape of one output.
        hidden: widths of the hidden layers; the default mirrors `MLPEncoder`.
    """

    def __init__(self, inputs: int, image_shape: tuple[int, ...], hidden: tuple[int, ...] = (500, 500, 2000)):
        super().__init__()
        self.image_shape = tuple(image_shape)
        self.layers = mlp(inputs, *hidden, math.prod(image_shape))

    def forward(self, z: Tensor) -> Tensor:
        """``(N, inputs) -> (N, *image_shape)``."""
        return self.layers(z).unflatten(1, self.image_shape)  # type: ignore[no-any-return]
