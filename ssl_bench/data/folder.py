"""Your own images: any folder of class folders."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ssl_bench.data.cache import decode_files_cached
from ssl_bench.data.contents import DatasetContents
from ssl_bench.data.decode import Decoder
from ssl_bench.data.file_tree import FileTree
from ssl_bench.data.module import DataModule
from ssl_bench.data.transforms import FiniteFloat, StandardDeviation
from ssl_bench.data.types import Split, Target
from ssl_bench.errors import UserError
from ssl_bench.ranges import PositiveInt, check_ranges

UNLABELLED = "unlabelled"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Listing:
    """Files in class folders.

    Attributes:
        names: paths of the files.
        labels: int64 ``(N,)``; -1 for no label.
        classes: class names in the order of their labels.
        rows: rows of each split, int64.
    """

    names: list[str]
    labels: Tensor
    classes: tuple[str, ...]
    rows: dict[Split, Tensor]

    def kept(self, split: Split, kept: Tensor) -> Tensor | None:
        """Rows of a split where ``kept``, bool ``(N,)``, is true; None if there is no such split."""
        rows = self.rows.get(split)
        return rows if rows is None else rows[kept[rows]]


def list_classes(tree: FileTree, folders: Mapping[str, Split], classes: Sequence[str] | None = None) -> Listing:
    """List files ``[split folder/]class folder/.../file``; without split folders, all files are the training split.

    Args:
        tree: the files.
        folders: possible names of split folders, and the split of each.
        classes: classes to use, in the order of their labels; default all, sorted by name.

    Raises:
        UserError: there are no files, no class folders, or not all of ``classes``.
    """
    paths = [name.split("/") for name in tree.names()]
    if not paths:
        raise UserError(f"{tree.path} contains no files; expected one folder of images for each class")
    present = {path[0] for path in paths if len(path) > 1} & set(folders)
    if present:
        paths = [path for path in paths if path[0] in present]
    depth = 1 if present else 0  # where the class is in a path
    loose = next((path for path in paths if len(path) < depth + 2), None)
    found = {path[depth] for path in paths if len(path) >= depth + 2}
    if not found:
        raise UserError(
            f"{tree.path} contains files but no class folders: move the images of each class into a folder of its own, "
            f"and images without a label into the folder {UNLABELLED} beside them, which is used in pretraining only"
        )
    if classes is None:
        if loose:
            raise UserError(f"{tree.path / '/'.join(loose)} is not in a class folder; move it into one")
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


@check_ranges
class ImageFolder(DataModule):
    """Your own images: ``<root>/<class>/*``, or ``<root>/{train,validation,test}/<class>/*``, also in a zip file.

    If there is no test (validation) folder, a stratified part of the training images is held out for this split. Images
    in a class folder called ``unlabelled`` are used in pretraining only. Images are cropped to their central square and
    resized.

    Args:
        root: the folder or zip file of the images.
        size: height and width of the resized images.
        channels: number of channels: 1 for grey, 3 for RGB; any other must be that of the files.
        mean: mean of each channel, in [0, 1]; default ImageNet's.
        std: standard deviation of each channel, in [0, 1]; default ImageNet's.
        name: name of the data in run folders, tables and wandb; on the command line, default the name of the root.
        **kwargs: see `DataModule`.
    """

    name = "image_folder"
    licence = "yours"

    def __init__(
        self,
        root: str | None = None,
        size: PositiveInt = 64,
        channels: PositiveInt = 3,
        mean: tuple[FiniteFloat, ...] | None = None,
        std: tuple[StandardDeviation, ...] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, **kwargs)
        self.name = name or type(self).name
        self.decoder = Decoder(channels, size)
        self.image_shape = (channels, size, size)
        self.mean, self.std = channel_statistics(channels, mean, std)

    def read(self) -> DatasetContents:
        """List the files and decode them into a cache."""
        if not self.root.exists():
            raise UserError(f"image_folder: {self.root} does not exist; set --data.root to a folder of class folders")
        tree = FileTree(self.root)
        folders: dict[str, Split] = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
        listing = list_classes(tree, folders)
        if "train" not in listing.rows:
            raise UserError(f"{self.root} has {' and '.join(listing.rows)} folders but no train folder")
        images, kept = decode_files_cached(type(self).name, tree, listing.names, self.decoder, self.on_error)
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
    """The given mean and std; by default those of ImageNet, averaged over channels for images that are not RGB."""
    statistics = []
    for name, values, default in (("mean", mean, IMAGENET_MEAN), ("std", std, IMAGENET_STD)):
        selected = tuple(values) if values else default if channels == 3 else (sum(default) / 3,) * channels
        if len(selected) != channels:
            raise UserError(f"--data.{name} has {len(selected)} values, expected {channels}, one for each channel")
        statistics.append(selected)
    return statistics[0], statistics[1]
