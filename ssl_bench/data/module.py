"""The contract of a data set: its facts, three disjoint splits and the loaders over them."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ssl_bench.data.locate import data_root
from ssl_bench.data.sampler import BatchSampler
from ssl_bench.data.splits import hold_out
from ssl_bench.data.types import Batch, Split, Target
from ssl_bench.distributed import share
from ssl_bench.errors import UserError

TEST_FRACTION = 0.2
VALIDATION_FRACTION = 0.1
SPLIT_SEED = 0
# Of the free memory of the training device: what images may take without crowding the model out.
RESIDENT_SHARE = 0.25


class LazyImages(Protocol):
    """Images that are fetched when they are needed, for sets too large for memory."""

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Rows, int64 ``(n,)``, as uint8 ``(n, C, H, W)`` on the CPU."""
        ...


@dataclass(frozen=True)
class DatasetContents:
    """All that ``DataModule.read`` finds: every image once, and which rows are which split.

    Attributes:
        images: uint8 ``(N, C, H, W)``, or float32 ``(N, D)`` for points; a tensor (in memory or memory-mapped), or
            files to be decoded as they are needed.
        labels: int64 ``(N,)`` or ``(N, T)``; -1 where there is no label.
        targets: What each column of ``labels`` means.
        train: Rows of the training split, int64 ``(n,)``.
        test: Rows of the test split; held out of ``train`` where the data set has none.
        validation: Likewise.
    """

    images: Tensor | LazyImages
    labels: Tensor
    targets: tuple[Target, ...]
    train: Tensor
    test: Tensor | None = None
    validation: Tensor | None = None


class ImageSet(Dataset[Batch]):
    """Some rows of a data set, fetched by a tensor of indices: ``images[torch.tensor([4, 2])]`` is a Batch of 2.

    Attributes:
        labels: int64 ``(N,)`` or ``(N, T)`` on the CPU, in the order of the set.
        rows: int64 ``(N,)``, where its images are in the whole data set.
        device: Where its batches live.
    """

    def __init__(self, images: Tensor | LazyImages, labels: Tensor, rows: Tensor) -> None:
        self.images = images
        self.labels = labels[rows]
        self.device = images.device if isinstance(images, Tensor) else torch.device("cpu")
        self.rows = rows.to(self.device)
        self._labels = self.labels.to(self.device)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor) -> Batch:
        """Fetches the images at ``index``, int64 ``(n,)``, on the set's device."""
        index = index.to(self.device)
        images, rows = self.images, self.rows[index]
        # index_select copies whole images: several times faster than images[rows] on a CPU.
        pixels = images.index_select(0, rows) if isinstance(images, Tensor) else images[rows]
        return Batch(pixels, self._labels[index], index)


class DataModule(LightningDataModule, ABC):
    """One data set: a subclass states its facts as class attributes and implements ``read``.

    Images are served as stored, uint8 and not augmented, in batches that are one gather: they lie on the
    training device where they fit, else in (memory-mapped) host memory. Validation is held out of the training
    split, stratified, by a seed of its own that no option changes.

    Args:
        root: Folder of the data; default ``$SSL_BENCH_DATA``, else ``./data``.
        batch_size: Images of one training step in one process.
        seed: Fixes the order of the training images.
        num_workers: Loader processes; useful only where images are decoded as they are needed (imagenet).
        on_error: What to do with an image that cannot be read: stop, or leave it out and say how many were.
        fit_images: Pretraining sees only so many of its images, the first of `fit_order`; 0 is all. Splits, and with
            them every score, stay as they are.

    Attributes:
        name: As on the command line.
        image_shape: ``(C, H, W)``, or ``(D,)`` for points.
        mean: Of each channel over the training images, in [0, 1].
        std: Likewise.
        licence: Terms of use, or where they are stated.
        targets: What the labels mean; known after ``setup``.
    """

    name: str
    image_shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    licence: str

    def __init__(
        self,
        root: str | None = None,
        batch_size: int = 128,
        seed: int = 0,
        num_workers: int = 0,
        on_error: Literal["raise", "skip"] = "raise",
        fit_images: int = 0,
    ) -> None:
        super().__init__()
        if fit_images < 0:
            raise UserError(f"data: fit_images {fit_images}: give a number of images, or 0 for all of them")
        self.root: Path = data_root(root)
        self.batch_size = batch_size
        self.seed = seed
        self.num_workers = num_workers
        self.on_error = on_error
        self.fit_images = fit_images
        self.targets: tuple[Target, ...] = ()
        self._contents: DatasetContents | None = None
        self._sets: dict[str, ImageSet] = {}

    @abstractmethod
    def read(self) -> DatasetContents:
        """Finds the files, downloads or caches what is missing, and returns everything in a stable order.

        Raises:
            UserError: A file is missing, damaged or does not hold what it should.
        """

    def prepare_data(self) -> None:
        """Downloads and caches, once on a machine; Lightning lets the other processes wait meanwhile."""
        if self._contents is None:
            self._contents = self.read()

    def setup(self, stage: str | None = None) -> None:
        """Makes the splits and puts the images where the training is. May be called again, for another device."""
        self.prepare_data()
        assert self._contents is not None
        contents = self._contents
        self._check(contents)
        self.targets = contents.targets
        train, validation, test = _three_splits(contents)
        for split, rows in (("train", train), ("test", test)):
            if not len(rows):
                raise UserError(f"{self.name}: no {split} images under {self.root}")
        images, labels = self._place(contents.images), contents.labels
        self._sets = {
            "train": ImageSet(images, labels, train),
            "validation": ImageSet(images, labels, validation),
            "test": ImageSet(images, labels, test),
            "fit": ImageSet(images, labels, torch.cat([train, validation])),
        }

    def split(self, name: Split | Literal["fit"]) -> ImageSet:
        """The images of one split, in a stable order; call ``setup`` first. Pretraining sees those of split ``fit``."""
        return self._sets[name]

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled batches of the training and the validation images: pretraining sees both, and no labels."""
        images, among = self._sets["fit"], self.fit_ids()
        chosen = None if len(among) == len(images) else among
        return self._loader(images, BatchSampler(images, self.batch_size, self.seed, images.device, among=chosen))

    def fit_order(self) -> Tensor:
        """All ids of the images of pretraining (split ``fit``) in an order that no option changes, int64 on the CPU.

        What is made of some of them, a limited pretraining or generated views, is made of the first of this order, so
        that fewer images are always among more.
        """
        return torch.randperm(len(self._sets["fit"]), generator=torch.Generator().manual_seed(SPLIT_SEED))

    def fit_ids(self) -> Tensor:
        """Ids of the images that pretraining sees, int64 ``(n,)`` on the CPU.

        Raises:
            UserError: There are fewer images than `fit_images`.
        """
        order = self.fit_order()
        if self.fit_images > len(order):
            raise UserError(f"{self.name}: fit_images {self.fit_images}: there are {len(order)} to train on")
        return order[: self.fit_images or None]

    def labels(self, split: Split) -> Tensor:
        """Labels of a whole split by image id, int64 ``(N,)`` or ``(N, T)``, on the CPU."""
        return self._sets[split].labels

    def batches(self, split: Split, batch_size: int = 1024, *, shared: bool = False) -> DataLoader[Batch]:
        """All images of a split in order, the last batch as small as it comes.

        Args:
            split: Which.
            batch_size: Images of a batch, > 0.
            shared: Give each process of a group its contiguous part of the batches; else all to every one.
        """
        images = self._sets[split]
        parts = torch.split(torch.arange(len(images), device=images.device), batch_size)
        chosen = share(len(parts)) if shared else range(len(parts))
        return self._loader(images, tuple(parts[i] for i in chosen))

    def _loader(self, images: ImageSet, indices: BatchSampler | tuple[Tensor, ...]) -> DataLoader[Batch]:
        on_host = images.device.type == "cpu"
        workers = self.num_workers if on_host else 0
        return DataLoader(
            images,
            sampler=indices,
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0 and isinstance(indices, BatchSampler),
            pin_memory=on_host and self._device().type == "cuda",
            # Of its own: a loader draws a seed for its workers whenever it is iterated, and from the global generator
            # that draw would fall before or after an epoch's seeding depending on whether the run was resumed.
            generator=torch.Generator(),
        )

    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    def _place(self, images: Tensor | LazyImages) -> Tensor | LazyImages:
        device = self._device()
        if device.type != "cuda" or not isinstance(images, Tensor):
            return images
        fits = images.nbytes <= RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]
        return images.to(device) if fits else images

    def _check(self, contents: DatasetContents) -> None:
        images, labels = contents.images, contents.labels
        if isinstance(images, Tensor) and len(images) != len(labels):
            raise UserError(f"{self.name}: {len(images)} images but {len(labels)} labels under {self.root}")
        if isinstance(images, Tensor) and images.shape[1:] != self.image_shape:
            raise UserError(
                f"{self.name}: images of shape {tuple(images.shape[1:])} under {self.root}, "
                f"expected {tuple(self.image_shape)}"
            )
        for target, column in zip(contents.targets, _columns(labels), strict=True):
            if not target.classes:
                raise UserError(f"{self.name}: target {target.name} has no classes under {self.root}")
            if len(column) and not (int(column.min()) >= -1 and int(column.max()) < len(target.classes)):
                raise UserError(
                    f"{self.name}: labels of {target.name} from {column.min()} to {column.max()} under "
                    f"{self.root}, expected 0 to {len(target.classes) - 1} (-1 for no label)"
                )


def _columns(labels: Tensor) -> Iterator[Tensor]:
    yield from (labels.unsqueeze(1) if labels.dim() == 1 else labels).unbind(1)


def _three_splits(contents: DatasetContents) -> tuple[Tensor, Tensor, Tensor]:
    train, validation, test = contents.train, contents.validation, contents.test
    if test is None:
        drawn = hold_out(contents.labels[train], TEST_FRACTION, SPLIT_SEED)
        train, test = train[~drawn], train[drawn]
    if validation is None:
        drawn = hold_out(contents.labels[train], VALIDATION_FRACTION, SPLIT_SEED)
        train, validation = train[~drawn], train[drawn]
    return train, validation, test
