"""ImageNet (ILSVRC 2012) and subsets of its classes."""

from typing import Any

import torch
from torch import Tensor

from ssl_bench.data.cache import decode_files_cached
from ssl_bench.data.decode import Decoder, ImageFiles
from ssl_bench.data.file_tree import FileTree
from ssl_bench.data.folder import IMAGENET_MEAN, IMAGENET_STD, Listing, list_classes
from ssl_bench.data.locate import find_files, missing_files
from ssl_bench.data.module import DataModule, DatasetContents
from ssl_bench.data.types import Target
from ssl_bench.errors import UserError


class ImageNet(DataModule):
    """1,281,167 training photographs in 1,000 classes, and the 50,000 of the official validation as test.

    Read from ``<root>/imagenet/{train,val}/<wnid>/*.JPEG`` (Russakovsky et al. 2015); the images of ``val`` must
    be sorted into class folders. Decoded as they are needed, by ``num_workers`` processes. Every image is the
    central square after its short side is resized, for training too: random crops are taken from it.

    Args:
        size: Height and width of the central square.
        short_side: What the short side is resized to before it is cut out.
        **kwargs: As for every data set.
    """

    name = "imagenet"
    mean = IMAGENET_MEAN
    std = IMAGENET_STD
    licence = "non-commercial research and education, on request from image-net.org"

    def __init__(self, size: int = 224, short_side: int = 256, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if short_side < size:
            raise UserError(f"{self.name}: short_side is {short_side}, expected at least size, {size}")
        self.decoder = Decoder(3, size, short_side)
        self.image_shape = (3, size, size)

    def read(self) -> DatasetContents:
        """Lists the files; no image is opened."""
        if self.on_error == "skip":
            raise UserError("imagenet: on_error skip needs a cache, which the full set has not; remove the bad files")
        return self._contents_of(None)

    def _contents_of(self, classes: list[str] | None) -> DatasetContents:
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
    """Some classes of ImageNet, decoded once into a cache: short side 144, central 128x128.

    Args:
        classes: Their WordNet ids, in the order of their labels; the configuration file holds the list.
        size: Height and width of the central square.
        short_side: What the short side is resized to before it is cut out.
        **kwargs: As for every data set.
    """

    def __init__(self, classes: list[str], size: int = 128, short_side: int = 144, **kwargs: Any) -> None:
        super().__init__(size=size, short_side=short_side, **kwargs)
        if len(set(classes)) != len(classes):
            raise UserError(f"{self.name}: --data.classes names a class twice")
        self.classes = classes

    def read(self) -> DatasetContents:
        """Lists the files of the classes and decodes them into a cache."""
        return self._contents_of(self.classes)

    def _pixels(self, tree: FileTree, listing: Listing) -> tuple[Tensor | ImageFiles, Tensor]:
        return decode_files_cached(self.name, tree, listing.names, self.decoder, self.on_error)


class ImageNet10(ImageNetSubset):
    """13,000 training and 500 test photographs in 10 classes (Chang et al. 2017, Deep Adaptive Clustering)."""

    name = "imagenet10"


class ImageNet100(ImageNetSubset):
    """About 127,000 training and 5,000 test photographs in 100 classes (Tian et al. 2020, CMC)."""

    name = "imagenet100"
