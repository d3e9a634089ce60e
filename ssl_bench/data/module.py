"""The base class of data sets: metadata, three disjoint splits and data loaders."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Literal

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from ssl_bench.data.contents import DatasetContents, ImageSet, LazyImages
from ssl_bench.data.loader import TrainingLoader
from ssl_bench.data.locate import data_root
from ssl_bench.data.sampler import BatchSampler
from ssl_bench.data.splits import SPLIT_SEED, split_rows
from ssl_bench.data.types import Batch, Split, Target
from ssl_bench.distributed import share
from ssl_bench.errors import UserError
from ssl_bench.ranges import NonNegativeInt, PositiveInt, check_ranges

RESIDENT_SHARE = 0.25
"""Largest part of the training device's free memory that images may use; the rest is for the model."""


@check_ranges
class DataModule(LightningDataModule, ABC):
    """Base class of data sets. A subclass sets the metadata as class attributes and implements ``read``.

    Batches contain the stored uint8 images without augmentation and are gathered by one indexing operation. The images
    are kept on the training device if they fit, else in (memory-mapped) host memory. A missing validation split is
    held out of the training split, stratified and with a fixed seed that no option changes.

    Args:
        root: folder of the data; default ``$SSL_BENCH_DATA``, else ``./data``.
        batch_size: number of images per training step and process.
        seed: seed of the order of the training images.
        num_workers: number of loader processes; useful only if images are decoded when they are indexed (imagenet).
        on_error: what to do with an image that cannot be read: ``raise`` an error, or ``skip`` it and log how many
            were skipped.
        fit_images: number of images used in pretraining, the first ones in `fit_order`; 0 for all. Splits and the
            images used in evaluation do not depend on it.
        drop_last: whether the images that remain after the last full step of an epoch are dropped. Otherwise they make
            a smaller last step, in which all processes have the same number of images: with W processes, at most W - 1
            images are dropped, or 2 W - 1 where each process would have fewer than two.
        global_batch_size: number of images per step of the optimizer over all processes, on the command line and in
            configurations: they divide it by the number of processes and of accumulated batches to ``batch_size``.

    Attributes:
        name: name on the command line.
        image_shape: ``(C, H, W)``, or ``(D,)`` for points.
        mean: mean of each channel over the training images, in [0, 1].
        std: standard deviation of each channel over the training images, in [0, 1], or of points.
        licence: terms of use, or where to find them.
        targets: names and classes of the labels; set by ``setup``.

    Example:
        >>> from ssl_bench.data import Digits
        >>> data = Digits(batch_size=32)
        >>> data.setup()
        >>> next(iter(data.train_dataloader())).images.shape
        torch.Size([32, 1, 8, 8])
    """

    name: str
    image_shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    licence: str

    def __init__(
        self,
        root: str | None = None,
        batch_size: PositiveInt = 128,
        seed: int = 0,
        num_workers: NonNegativeInt = 0,
        on_error: Literal["raise", "skip"] = "raise",
        fit_images: NonNegativeInt = 0,
        drop_last: bool = True,
        global_batch_size: NonNegativeInt = 0,
    ) -> None:
        super().__init__()
        if global_batch_size:
            raise UserError("the command line divides global_batch_size among processes: give batch_size")
        self.root: Path = data_root(root)
        self.batch_size = batch_size
        self.seed = seed
        self.num_workers = num_workers
        self.on_error = on_error
        self.fit_images = fit_images
        self.drop_last = drop_last
        self.targets: tuple[Target, ...] = ()
        self._contents: DatasetContents | None = None
        self._sets: dict[str, ImageSet] = {}

    @abstractmethod
    def read(self) -> DatasetContents:
        """Find, download or cache the files, and return images, labels and splits in a fixed order.

        Raises:
            UserError: a file is missing, damaged or has the wrong content.
        """

    def prepare_data(self) -> None:
        """Download and cache; Lightning calls this once on each machine while the other processes wait."""
        if self._contents is None:
            self._contents = self.read()

    def setup(self, stage: str | None = None) -> None:
        """Make the splits and move the images to the training device; may be called again for another device.

        Raises:
            UserError: the data are not valid, see `DatasetContents.check`, or a split has no images.
        """
        self.prepare_data()
        assert self._contents is not None
        contents = self._contents
        contents.check(self.name, self.image_shape, self.root)
        self.targets = contents.targets
        train, validation, test = split_rows(contents)
        held_out = {"validation": contents.validation is None, "test": contents.test is None}
        for split, rows in (("train", train), ("validation", validation), ("test", test)):
            if not len(rows):
                advice = f"add images to the {split} split"
                if held_out.get(split):
                    advice = f"give three or more labelled images of some class, or a {split} split"
                raise UserError(f"{self.name}: no {split} images under {self.root}: {advice}")
        images, labels = self._to_training_device(contents.images), contents.labels
        self._sets = {
            "train": ImageSet(images, labels, train),
            "validation": ImageSet(images, labels, validation),
            "test": ImageSet(images, labels, test),
            "fit": ImageSet(images, labels, torch.cat([train, validation])),
        }

    def summary(self) -> str:
        """One line about the data; call ``setup`` first.

        It states the images of each split, the classes, the images without a label and the skipped files. It names
        classes of test without training images, which are never predicted.
        """
        assert self._contents is not None
        splits = ("train", "validation", "test")
        sizes = ", ".join(f"{len(self._sets[split]):,} {split}" for split in splits)
        classes = f"{len(self.targets)} targets"
        if len(self.targets) == 1:
            classes = counted(len(self.targets[0].classes), "class", "classes")
        more, unlabelled = "", 0
        for name in ("fit", "test"):  # the images of all splits, and synthetic images
            labels = self._sets[name].labels
            unlabelled += int((labels.view(len(labels), -1) == -1).all(1).sum())
        if unlabelled:
            more += f"; {unlabelled:,} unlabelled"
        if self._contents.skipped:
            more += f"; {counted(self._contents.skipped, 'file', 'files')} skipped"
        if len(self.targets) == 1:
            train, validation, test = (set(self._sets[s].labels.flatten().tolist()) for s in splits)
            if absent := sorted(test - train - validation - {-1}):
                names = ", ".join(self.targets[0].classes[label] for label in absent[:3])
                number = counted(len(absent), "test class", "test classes")
                more += f"; {number} without training images: {names}"
        return f"{self.name}: {sizes} images, {classes}{more}"

    def split(self, name: Split | Literal["fit"]) -> ImageSet:
        """The images of one split in a fixed order; call ``setup`` first. ``fit`` is the split used in pretraining."""
        return self._sets[name]

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled batches of the training and validation images, see `training_images`."""
        return self._loader(self.training_images(), self.sampler())

    def training_images(self) -> ImageSet:
        """The images of split ``fit``; those of the validation split have the label -1; call ``setup`` first.

        Protocols choose their settings on the validation labels, so that no method may be trained with them.
        """
        return self._sets["fit"].with_labels_of_first(len(self._sets["train"]))

    def sampler(self) -> BatchSampler:
        """The order of the images in training.

        Raises:
            UserError: a batch of all processes is larger than the data set.
        """
        images, ids = self._sets["fit"], self.fit_ids()
        subset = None if len(ids) == len(images) else ids
        return BatchSampler(images, self.batch_size, self.seed, images.device, subset=subset, drop_last=self.drop_last)

    def fit_order(self) -> Tensor:
        """Ids of all images of split ``fit`` in a random order that no option changes, int64 on the CPU.

        Pretraining on a subset of the images, and generated views of a subset, use the first images in this order. A
        smaller subset is therefore always part of a larger one.
        """
        return torch.randperm(len(self._sets["fit"]), generator=torch.Generator().manual_seed(SPLIT_SEED))

    def fit_ids(self) -> Tensor:
        """Ids of the images used in pretraining, int64 ``(n,)`` on the CPU.

        Raises:
            UserError: there are fewer images than `fit_images`.
        """
        order = self.fit_order()
        if self.fit_images > len(order):
            raise UserError(f"{self.name}: fit_images {self.fit_images}: there are {len(order)} to train on")
        return order[: self.fit_images or None]

    def labels(self, split: Split) -> Tensor:
        """Labels of a split by image id, int64 ``(N,)`` or ``(N, T)``, on the CPU."""
        return self._sets[split].labels

    def batches(
        self, split: Split, batch_size: int = 1024, *, shared: bool = False, ids: Tensor | None = None
    ) -> DataLoader[Batch]:
        """Images of a split in order; the last batch may be smaller.

        Args:
            split: name of the split.
            batch_size: number of images per batch, > 0.
            shared: whether each process gets only its contiguous part of the batches; by default each gets all batches.
            ids: ids of the images, int64 ``(n,)``; by default all in order.
        """
        images = self._sets[split]
        ids = torch.arange(len(images)) if ids is None else ids
        parts = torch.split(ids.to(images.device), batch_size)
        own = share(len(parts)) if shared else range(len(parts))
        return self._loader(images, tuple(parts[i] for i in own))

    def _loader(self, images: ImageSet, indices: BatchSampler | tuple[Tensor, ...]) -> DataLoader[Batch]:
        on_host = images.device.type == "cpu"
        workers = self.num_workers if on_host else 0
        return (TrainingLoader if isinstance(indices, BatchSampler) else DataLoader)(
            images,
            sampler=indices,
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0 and isinstance(indices, BatchSampler),
            pin_memory=on_host and self._training_device().type == "cuda",
            # A loader samples a seed for its workers whenever it is iterated. If it used the global generator, this
            # would happen before or after the seeding of an epoch, depending on whether the run was resumed.
            generator=torch.Generator(),
        )

    def _training_device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    def _to_training_device(self, images: Tensor | LazyImages) -> Tensor | LazyImages:
        device = self._training_device()
        if device.type != "cuda" or not isinstance(images, Tensor):
            return images
        fits = images.nbytes <= RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]
        return images.to(device) if fits else images


def counted(number: int, one: str, several: str) -> str:
    """A number and what is counted, in the singular or the plural."""
    return f"{number:,} {one if number == 1 else several}"
