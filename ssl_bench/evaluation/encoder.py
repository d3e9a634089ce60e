"""EvaluatedEncoder: features of an encoder and, if available, the encoder itself; the input of label-free protocols."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Generator, Tensor

from ssl_bench.data.types import Batch, Split
from ssl_bench.evaluation.features import Features


@dataclass(frozen=True)
class EvaluatedEncoder:
    """The encoder under evaluation. Only its features are always available; features from a file have nothing else.

    Attributes:
        features: features of the three splits, the same in every process.
        device: device of the computations.
        folder: the run folder, the same in every process; plots and caches are written to it.
        data: data set and image size, in the names of caches: ``cifar10-32x32x3``.
        images: iterates over the un-augmented images of a split in batches, float ``(n, C, H, W)`` in [0, 1] on the
            device, with their ids. Each process gets its own share, in order; shares follow one another in rank order.
        image_shape: shape of an image (C, H, W), or (D,) for points; empty if there are no images.
        encode: maps images in [0, 1] to features as in `features`, float32 ``(n, d)``.
        sample: of a generative method, samples n images ``(n, C, H, W)`` in [0, 1] with a generator on the device.
        reconstruct: of a method with a decoder, maps images in [0, 1] to reconstructions in [0, 1].
        augmented: features of augmented images, one per augmented pass, in the order of `features`.
        layers: features of each layer of the encoder, first layer first; empty if it has fewer than two.
    """

    features: Features
    device: torch.device
    folder: Path
    data: str = ""
    images: Callable[[Split], Iterator[Batch]] | None = None
    image_shape: tuple[int, ...] = ()
    encode: Callable[[Tensor], Tensor] | None = None
    sample: Callable[[int, Generator], Tensor] | None = None
    reconstruct: Callable[[Tensor], Tensor] | None = None
    augmented: tuple[Features, ...] = ()
    layers: tuple[Features, ...] = ()


class LabelFreeProtocol(Protocol):
    """Interface of protocols that need no labels: a frozen dataclass of settings that maps an encoder to metrics."""

    def runs_by_default(self, encoder: EvaluatedEncoder) -> bool:
        """Whether the protocol runs on this encoder if the user names no protocols."""
        ...

    def __call__(self, encoder: EvaluatedEncoder) -> dict[str, float]:
        """Metrics by name, the same in every process.

        Raises:
            UserError: they cannot be computed for this encoder; the message gives the reason in one line.
        """
        ...
