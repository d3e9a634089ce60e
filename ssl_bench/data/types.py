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
        ids: int64 ``(N,)``, position of each image in the split.
    """

    images: Tensor
    labels: Tensor
    ids: Tensor


class MultiCropBatch(NamedTuple):
    """The images of one training step with local views, which only methods that accept them get.

    Attributes:
        images: float ``(J, N, C, H, W)``, see `Batch`.
        labels: see `Batch`.
        ids: see `Batch`.
        local_views: float ``(L, N, C, h, w)``, the L local views of each image; they may be smaller than `images`.
    """

    images: Tensor
    labels: Tensor
    ids: Tensor
    local_views: Tensor


@dataclass(frozen=True)
class Target:
    """A classification target: its name and the names of its classes, in the order of the labels."""

    name: str
    classes: tuple[str, ...]


@dataclass(frozen=True)
class TrainingInputs:
    """Properties of the input of a training step, which a method checks before training.

    Attributes:
        images: number of views per step and process, over all images, without generated and local views.
        last_images: the same in the last step of an epoch, which may be smaller.
        processes: number of processes.
        views: number of views that the recipe makes of each image.
        generated: whether generated views are appended to the views of the recipe.
        black: value of a black pixel in each channel of a view, ``(C,)``; empty for points.
        white: value of a white pixel in each channel of a view, ``(C,)``; empty for points.
        local_views: number of local views of each image.
    """

    images: int
    last_images: int
    processes: int
    views: int
    generated: bool
    black: tuple[float, ...]
    white: tuple[float, ...]
    local_views: int = 0


@runtime_checkable
class InvertibleViews(Protocol):
    """Views whose normalisation can be undone."""

    def to_image(self, x: Tensor) -> Tensor:
        """Views ``(N, C, H, W)`` as images in [0, 1]."""
        ...

    def from_image(self, images: Tensor) -> Tensor:
        """Images ``(N, C, H, W)`` in [0, 1], normalised as views are."""
        ...


@runtime_checkable
class MultiCropViews(Protocol):
    """Views that include local views."""

    def local_views(self, images: Tensor) -> Tensor | None:
        """Local views ``(L, N, C, h, w)`` of images ``(N, C, H, W)``; None if there are none."""
        ...
