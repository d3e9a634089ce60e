"""Your own images: any folder of class folders."""

from collections.abc import Sequence
from typing import Any

from ssl_bench.data.cache import decode_files_cached
from ssl_bench.data.class_folders import list_classes
from ssl_bench.data.contents import DatasetContents
from ssl_bench.data.decode import Decoder
from ssl_bench.data.file_tree import FileTree
from ssl_bench.data.module import DataModule
from ssl_bench.data.transforms import FiniteFloat, StandardDeviation
from ssl_bench.data.types import Target
from ssl_bench.errors import UserError
from ssl_bench.ranges import PositiveInt, check_ranges

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@check_ranges
class ImageFolder(DataModule):
    """Your own images: ``<root>/<class>/*``, or ``<root>/{train,validation,test}/<class>/*``, also in a zip file.

    Names of splits may be in any case and are also spelled training, val, valid, dev and testing. If there is no test
    (validation) folder, a stratified part of the training images is held out for this split. Images in a class folder
    called ``unlabelled`` or ``unlabeled`` are used in pretraining only. Images are cropped to their central square and
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
        listing = list_classes(tree)
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
            skipped=listing.skipped + int((~kept).sum()),
        )


def channel_statistics(
    channels: int, mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The given mean and std; by default those of ImageNet, averaged over channels for images that are not RGB."""
    statistics = []
    for name, values, default in (("mean", mean, IMAGENET_MEAN), ("std", std, IMAGENET_STD)):
        selected = tuple(values) if values else default if channels == 3 else (sum(default) / 3,) * channels
        if len(selected) != channels:
            found = "1 value" if len(selected) == 1 else f"{len(selected)} values"
            raise UserError(f"--data.{name} has {found}, expected {channels}, one for each channel")
        statistics.append(selected)
    return statistics[0], statistics[1]
