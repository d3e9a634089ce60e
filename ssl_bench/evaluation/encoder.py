"""What the protocols that need no labels are given: the features, and where they came from as far as that is known."""

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
    """An encoder's features, and the encoder where there is one.

    Attributes:
        features: of three splits, whole in every process.
        device: where to compute.
        folder: the run folder, the same in every process; where figures and caches may be written.
        data: what names the data set and the size of its images in caches: ``cifar10-32x32x3``.
        images: a split's un-augmented images, float ``(n, C, H, W)`` in [0, 1] on the device, in batches, with
            their ids: this process's part of them only, in order; parts follow one another in rank order.
        image_shape: (C, H, W) of one of them, or (D,) of points; empty where there are none.
        encode: images in [0, 1] to features as `features` are, float32 ``(n, d)``.
        sample: of a generative method, n images ``(n, C, H, W)`` in [0, 1] drawn by a generator on the device.
        reconstruct: of a method with a decoder, images in [0, 1] to their reconstructions in [0, 1].
        augmented: features of augmented images, one for every pass that was asked for, in the order of `features`.
        layers: features of each layer of the encoder, the first one's first; none where it has not two or more.
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
    """A way to score an encoder without labels: a frozen dataclass of its settings."""

    def applies(self, encoder: EvaluatedEncoder) -> bool:
        """Whether it is computed where nobody has chosen protocols."""
        ...

    def __call__(self, encoder: EvaluatedEncoder) -> dict[str, float]:
        """Figures by name. The same in every process.

        Raises:
            UserError: it cannot be computed for this encoder; one line says why.
        """
        ...
