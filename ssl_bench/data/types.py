"""What a data set says of itself and what one step of it looks like."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor

Split = Literal["train", "validation", "test"]


class Batch(NamedTuple):
    """One step's images.

    Attributes:
        images: uint8 ``(N, C, H, W)`` as the data set holds them (float32 ``(N, D)`` for points); in
            ``Method.training_step`` float ``(J, N, C, H, W)``, the J views of each image.
        labels: int64 ``(N,)``, or ``(N, T)`` for T targets; -1 where an image has no label.
        ids: int64 ``(N,)``, each image's position in its split.
    """

    images: Tensor
    labels: Tensor
    ids: Tensor


@dataclass(frozen=True)
class Target:
    """One thing to be predicted: its name and the names of its classes, in label order."""

    name: str
    classes: tuple[str, ...]
