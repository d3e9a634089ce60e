"""EvaluatedEncoder: features of an encoder and, if available, the encoder itself; the input of label-free protocols."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Generator, Tensor

from ssl_bench.data.types import Batch, Split
from ssl_bench.evaluation.features import Features


@dataclass(frozen=True)
class EvaluatedEncoder:
    """The encoder under evaluation. Only its features are always available; a feature file provides nothing else.

    Attributes:
        features: features of the three splits, the same in every process.
        device: device of the computations.
        folder: the run folder, the same in every process; plots and caches are written to it.
        title: method, data, seed and epochs, for the titles of plots.
        data: data set and image size for the names of caches, such as ``cifar10-32x32x3``.
        images: iterates over the un-augmented images of a split in batches, float ``(n, C, H, W)`` in [0, 1] on the
            device, with their ids. Each process gets a contiguous share of the split, in rank order.
        image_shape: shape of an image (C, H, W), or (D,) for points; empty if there are no images.
        encode: function that maps images in [0, 1] to features as in `features`, float32 ``(n, d)``.
        sample: function that samples n images ``(n, C, H, W)`` in [0, 1] with a generator on the device; None if the
            method is not generative.
        reconstruct: function that maps images in [0, 1] to reconstructions in [0, 1]; None without a decoder.
        reconstructions_contain_input: whether reconstructions contain a part of the image, as those of a masked
            autoencoder do.
        augmented: features of the augmented images of each augmented pass, in the order of `features`.
        layers: features of each layer of the encoder, first layer first; empty if there are fewer than two layers.
        noisy: for each index t of the noise, features of each layer of a diffusion model, none if it has no noise of
            the largest t; empty for other encoders.
    """

    features: Features
    device: torch.device
    folder: Path
    title: str = ""
    data: str = ""
    images: Callable[[Split], Iterator[Batch]] | None = None
    image_shape: tuple[int, ...] = ()
    encode: Callable[[Tensor], Tensor] | None = None
    sample: Callable[[int, Generator], Tensor] | None = None
    reconstruct: Callable[[Tensor], Tensor] | None = None
    reconstructions_contain_input: bool = False
    augmented: tuple[Features, ...] = ()
    layers: tuple[Features, ...] = ()
    noisy: dict[int, tuple[Features, ...]] = field(default_factory=dict)


class LabelFreeProtocol(Protocol):
    """Interface of protocols that need no labels: a frozen dataclass of settings that maps an encoder to metrics."""

    def runs_by_default(self, encoder: EvaluatedEncoder) -> bool:
        """Whether the protocol runs on this encoder if the user does not select protocols."""
        ...

    def __call__(self, encoder: EvaluatedEncoder) -> dict[str, float]:
        """Metrics by name, the same in every process.

        Raises:
            UserError: the metrics cannot be computed for this encoder; the message gives the reason in one line.
        """
        ...
