"""Types of the data flow: splits, batches and targets."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

Split = Literal["train", "validation", "test"]


class Batch(NamedTuple):
    """The images of one step.

    Attributes:
        images: uint8 ``(N, C, H, W)`` as the data set stores them (float32 ``(N, D)`` for points); in
            ``Method.training_step`` float ``(J, N, C, H, W)``, the J views of each image.
        labels: int64 ``(N,)``, or ``(N, T)`` for T targets; -1 for no label.
        ids: int64 ``(N,)``, position of each image in its split.
    """

    images: Tensor
    labels: Tensor
    ids: Tensor


@dataclass(frozen=True)
class Target:
    """A classification target: its name and the names of its classes, in the order of the labels."""

    name: str
    classes: tuple[str, ...]


@dataclass(frozen=True)
class TrainingInputs:
    """What a training step receives; a method checks it before training.

    Attributes:
        images: images of one step in one process; each of the recipe's views counts, generated views do not.
        processes: number of processes.
        views: views of each image that the recipe makes.
        generated: whether generated views follow them.
        black: value of a black pixel in each channel of a view, ``(C,)``; empty for points.
        white: value of a white pixel, likewise.
    """

    images: int
    processes: int
    views: int
    generated: bool
    black: tuple[float, ...]
    white: tuple[float, ...]


@runtime_checkable
class InvertibleViews(Protocol):
    """Views whose normalisation can be undone."""

    def to_image(self, x: Tensor) -> Tensor:
        """Views ``(N, C, H, W)`` as images in [0, 1]."""
        ...

    def from_image(self, images: Tensor) -> Tensor:
        """Images ``(N, C, H, W)`` in [0, 1], normalised as views are."""
        ...
