"""ImageNet (ILSVRC 2012) and subsets of its classes."""

from typing import Any

import torch
from torch import Tensor

from ssl_bench.data.cache import decode_files_cached
from ssl_bench.data.class_folders import Listing, list_classes
from ssl_bench.data.contents import DatasetContents
from ssl_bench.data.decode import Decoder, ImageFiles
from ssl_bench.data.file_tree import FileTree
from ssl_bench.data.folder import IMAGENET_MEAN, IMAGENET_STD
from ssl_bench.data.locate import find_files, missing_files
from ssl_bench.data.module import DataModule
from ssl_bench.data.types import Target
from ssl_bench.errors import UserError
from ssl_bench.ranges import PositiveInt, check_ranges


@check_ranges
class ImageNet(DataModule):
    """1,281,167 training photographs in 1,000 classes (Russakovsky et al. 2015); test is the official validation split.

    The files are ``<root>/imagenet/{train,val}/<wnid>/*.JPEG``; the images of ``val`` must be sorted into class
    folders. Images are decoded when they are indexed, by ``num_workers`` processes. The short side is resized and the
    central square is taken. This is also done in training: random crops are taken from that square.

    Args:
        size: height and width of the central square.
        short_side: length of the resized short side, >= size.
        **kwargs: see `DataModule`.
    """

    name = "imagenet"
    mean = IMAGENET_MEAN
    std = IMAGENET_STD
    licence = "non-commercial research and education, on request from image-net.org"

    def __init__(self, size: PositiveInt = 224, short_side: PositiveInt = 256, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if short_side < size:
            raise UserError(f"{self.name}: short_side is {short_side}, expected at least size, {size}")
        self.decoder = Decoder(3, size, short_side)
        self.image_shape = (3, size, size)

    def read(self) -> DatasetContents:
        """List the files; no image is opened."""
        if self.on_error == "skip":
            raise UserError("imagenet: on_error skip needs a cache and the full set has none; remove damaged files")
        return self._read_classes(None)

    def _read_classes(self, classes: list[str] | None) -> DatasetContents:
        folders, names = [self.root / "imagenet"], [("train",), ("val",)]
        if find_files(folders, names) is None:
            raise missing_files(
                self.name, folders, names, "it cannot be downloaded without an account at image-net.org"
            )
        tree = FileTree(folders[0])
        listing = list_classes(tree, {"train": "train", "val": "test"}, classes)
        images, kept = self._pixels(tree, listing)
        train = listing.kept("train", kept)
        assert train is not None
        return DatasetContents(
            images=images,
            labels=listing.labels,
            targets=(Target("object", listing.classes),),
            train=train,
            test=listing.kept("test", kept),
        )

    def _pixels(self, tree: FileTree, listing: Listing) -> tuple[Tensor | ImageFiles, Tensor]:
        return ImageFiles(tree, listing.names, self.decoder), torch.ones(len(listing.names), dtype=torch.bool)


class ImageNetSubset(ImageNet):
    """Some classes of ImageNet, decoded once into a cache; by default the central 128x128 of a short side of 144.

    Args:
        classes: WordNet ids in the order of their labels; the configuration file contains them.
        size: height and width of the central square.
        short_side: length of the resized short side, >= size.
        **kwargs: see `DataModule`.
    """

    def __init__(
        self, classes: list[str], size: PositiveInt = 128, short_side: PositiveInt = 144, **kwargs: Any
    ) -> None:
        super().__init__(size=size, short_side=short_side, **kwargs)
        if len(set(classes)) != len(classes):
            raise UserError(f"{self.name}: --data.classes contains a class twice")
        self.classes = classes

    def read(self) -> DatasetContents:
        """List the files of the classes and decode them into a cache."""
        return self._read_classes(self.classes)

    def _pixels(self, tree: FileTree, listing: Listing) -> tuple[Tensor | ImageFiles, Tensor]:
        return decode_files_cached(self.name, tree, listing.names, self.decoder, self.on_error)


class ImageNet10(ImageNetSubset):
    """13,000 training and 500 test photographs in 10 classes (Chang et al. 2017, Deep Adaptive Clustering)."""

    name = "imagenet10"


class ImageNet100(ImageNetSubset):
    """About 127,000 training and 5,000 test photographs in 100 classes (Tian et al. 2020, CMC)."""

    name = "imagenet100"
