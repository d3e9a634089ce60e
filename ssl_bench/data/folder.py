"""Any folder of class folders."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ssl_bench.data.cache import decode_files_cached
from ssl_bench.data.decode import Decoder
from ssl_bench.data.file_tree import FileTree
from ssl_bench.data.module import DataModule, DatasetContents
from ssl_bench.data.types import Split, Target
from ssl_bench.errors import UserError

UNLABELLED = "unlabelled"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Listing:
    """Files in class folders: their names, labels int64 ``(N,)``, the classes, and the rows of each split."""

    names: list[str]
    labels: Tensor
    classes: tuple[str, ...]
    rows: dict[Split, Tensor]

    def kept(self, split: Split, kept: Tensor) -> Tensor | None:
        """The rows of a split that ``kept``, bool ``(N,)``, names; None if there is no such split."""
        rows = self.rows.get(split)
        return rows if rows is None else rows[kept[rows]]


def list_classes(tree: FileTree, folders: Mapping[str, Split], classes: Sequence[str] | None = None) -> Listing:
    """Lists ``[split folder/]class folder/.../file``; all is the training split if no split folder is there.

    Args:
        tree: The files.
        folders: The names of split folders, and what they hold.
        classes: Only these, in the order of their labels; default all, by name.

    Raises:
        UserError: There are no files, no class folders, or not all of ``classes``.
    """
    paths = [name.split("/") for name in tree.names()]
    if not paths:
        raise UserError(f"{tree.path} has no files; expected one folder of images for each class")
    present = {path[0] for path in paths if len(path) > 1} & set(folders)
    if present:
        paths = [path for path in paths if path[0] in present]
    depth = 1 if present else 0  # where the class is in a path
    loose = next((path for path in paths if len(path) < depth + 2), None)
    found = {path[depth] for path in paths if len(path) >= depth + 2}
    if classes is None:
        if loose:
            raise UserError(f"{tree.path / '/'.join(loose)} lies in no class folder; move it into one")
        classes = sorted(found - {UNLABELLED})
    if not classes:
        raise UserError(f"{tree.path} has no classes; expected one folder of images for each class")
    if absent := [name for name in classes if name not in found]:
        raise UserError(f"{tree.path} lacks {len(absent)} of {len(classes)} class folders, the first: {absent[0]}")
    label = {name: index for index, name in enumerate(classes)} | {UNLABELLED: -1}
    paths = [path for path in paths if len(path) >= depth + 2 and path[depth] in label]
    split: list[Split] = [folders[path[0]] if present else "train" for path in paths]
    return Listing(
        names=["/".join(path) for path in paths],
        labels=torch.tensor([label[path[depth]] for path in paths], dtype=torch.int64),
        classes=tuple(classes),
        rows={
            part: torch.tensor([row for row, of in enumerate(split) if of == part], dtype=torch.int64)
            for part in dict.fromkeys(split)
        },
    )


class ImageFolder(DataModule):
    """Your own images: ``<root>/<class>/*``, or ``<root>/{train,validation,test}/<class>/*``; a zip will do.

    What has no test (validation) folder gets a stratified part of the training images held out as such. A class
    folder named ``unlabelled`` holds images that only pretraining sees. Images are cropped to their central
    square and resized.

    Args:
        root: The folder (or zip file) of these images themselves.
        size: Height and width that the images are resized to.
        channels: 1 for grey, 3 for RGB.
        mean: Of each channel, in [0, 1]; default ImageNet's.
        std: Likewise.
        **kwargs: As for every data set.
    """

    name = "image_folder"
    licence = "yours"

    def __init__(
        self,
        root: str | None = None,
        size: int = 64,
        channels: Literal[1, 3] = 3,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, **kwargs)
        self.decoder = Decoder(channels, size)
        self.image_shape = (channels, size, size)
        self.mean, self.std = channel_statistics(channels, mean, std)

    def read(self) -> DatasetContents:
        """Lists the folder and decodes it into a cache."""
        if not self.root.exists():
            raise UserError(f"image_folder: {self.root} is not there; set --data.root to a folder of class folders")
        tree = FileTree(self.root)
        folders: dict[str, Split] = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
        listing = list_classes(tree, folders)
        if "train" not in listing.rows:
            raise UserError(f"{self.root} has {' and '.join(listing.rows)} folders but no train folder")
        images, kept = decode_files_cached(self.name, tree, listing.names, self.decoder, self.on_error)
        train = listing.kept("train", kept)
        assert train is not None
        return DatasetContents(
            images=images,
            labels=listing.labels,
            targets=(Target("class", listing.classes),),
            train=train,
            test=listing.kept("test", kept),
            validation=listing.kept("validation", kept),
        )


def channel_statistics(
    channels: int, mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The given mean and standard deviation of each channel; ImageNet's (for grey their average) by default."""
    given = []
    for name, values, default in (("mean", mean, IMAGENET_MEAN), ("std", std, IMAGENET_STD)):
        chosen = tuple(values) if values else default if channels == 3 else (sum(default) / 3,)
        if len(chosen) != channels:
            raise UserError(f"--data.{name} has {len(chosen)} values, expected {channels}, one for each channel")
        given.append(chosen)
    return given[0], given[1]
