"""Contents of a data set: images, labels, and the rows of each split."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ssl_bench.data.types import Batch, Target
from ssl_bench.errors import UserError


class LazyImages(Protocol):
    """Images that are read when they are indexed, for data sets that do not fit into memory."""

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Images at rows, int64 ``(n,)``, as uint8 ``(n, C, H, W)`` on the CPU."""
        ...


@dataclass(frozen=True)
class DatasetContents:
    """Images and labels of a data set, each image once, and the rows of each split.

    Attributes:
        images: uint8 ``(N, C, H, W)``, or float32 ``(N, D)`` for points; a tensor (in memory or memory-mapped) or
            images that are decoded when they are indexed.
        labels: int64 ``(N,)`` or ``(N, T)``; -1 for no label.
        targets: name and classes of each column of ``labels``.
        train: rows of the training split, int64 ``(n,)``.
        test: rows of the test split; None to hold it out of ``train``.
        validation: rows of the validation split; None to hold it out of ``train``.
        skipped: number of files that are not images, cannot be decoded, or belong to no split.
    """

    images: Tensor | LazyImages
    labels: Tensor
    targets: tuple[Target, ...]
    train: Tensor
    test: Tensor | None = None
    validation: Tensor | None = None
    skipped: int = 0

    def check(self, name: str, image_shape: tuple[int, ...], root: Path) -> None:
        """Check shapes and labels.

        Args:
            name: name of the data set, for messages.
            image_shape: expected shape of one image.
            root: folder of the data, for messages.

        Raises:
            UserError: the numbers of images and labels differ, or a shape or label is not the expected one.
        """
        images, labels = self.images, self.labels
        if isinstance(images, Tensor) and len(images) != len(labels):
            raise UserError(f"{name}: {len(images)} images but {len(labels)} labels under {root}")
        if isinstance(images, Tensor) and images.shape[1:] != image_shape:
            raise UserError(
                f"{name}: images of shape {tuple(images.shape[1:])} under {root}, expected {tuple(image_shape)}"
            )
        columns = (labels.unsqueeze(1) if labels.dim() == 1 else labels).unbind(1)
        for target, column in zip(self.targets, columns, strict=True):
            if not target.classes:
                raise UserError(f"{name}: target {target.name} has no classes under {root}")
            if len(column) and not (int(column.min()) >= -1 and int(column.max()) < len(target.classes)):
                raise UserError(
                    f"{name}: labels of {target.name} from {column.min()} to {column.max()} under {root}, "
                    f"expected 0 to {len(target.classes) - 1} (-1 for no label)"
                )


class ImageSet(Dataset[Batch]):
    """Some rows of a data set, indexed by a tensor: ``images[torch.tensor([4, 2])]`` is a Batch of 2 images.

    Attributes:
        labels: int64 ``(N,)`` or ``(N, T)`` on the CPU, in the order of the set.
        rows: int64 ``(N,)``, positions of the images in the whole data set.
        device: device of the batches.
    """

    def __init__(self, images: Tensor | LazyImages, labels: Tensor, rows: Tensor) -> None:
        self.images = images
        self.labels = labels[rows]
        self.device = images.device if isinstance(images, Tensor) else torch.device("cpu")
        self.rows = rows.to(self.device)
        self._labels = self.labels.to(self.device)

    def with_labels_of_first(self, n: int) -> "ImageSet":
        """The same images; those after the first n have the label -1."""
        labelled = copy.copy(self)
        labelled.labels = self.labels.clone()
        labelled.labels[n:] = -1
        labelled._labels = labelled.labels.to(self.device)
        return labelled

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor) -> Batch:
        """The images at ``index``, int64 ``(n,)``, on the set's device."""
        index = index.to(self.device)
        images, rows = self.images, self.rows[index]
        # index_select copies whole images: several times faster than images[rows] on a CPU.
        pixels = images.index_select(0, rows) if isinstance(images, Tensor) else images[rows]
        return Batch(pixels, self._labels[index], index)
