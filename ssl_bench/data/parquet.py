"""Your own images: parquet files in the layout of Hugging Face."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from ssl_bench.data.cache import CHUNK, Item, decode_cached
from ssl_bench.data.contents import DatasetContents
from ssl_bench.data.decode import Decoder
from ssl_bench.data.file_tree import FileTree
from ssl_bench.data.folder import channel_statistics
from ssl_bench.data.module import DataModule
from ssl_bench.data.transforms import FiniteFloat, StandardDeviation
from ssl_bench.data.types import Target
from ssl_bench.errors import UserError
from ssl_bench.ranges import PositiveInt, check_ranges


@check_ranges
class Parquet(DataModule):
    """Files ``<split>-*.parquet`` (or ``<split>.parquet``) with a column of images and one of integer labels.

    The image column contains encoded images of any format that Pillow reads, as bytes or as a struct with a field
    ``bytes``. A label of null or -1 means no label. Images are cropped to their central square and resized to ``size``;
    images of that size are not changed.

    Args:
        root: the folder of the parquet files; subfolders are searched too.
        size: height and width of the resized images.
        channels: number of channels: 1 for grey, 3 for RGB; any other must be that of the files.
        mean: mean of each channel, in [0, 1]; default ImageNet's.
        std: standard deviation of each channel, in [0, 1]; default ImageNet's.
        image_column: name of the column of images.
        label_column: name of the column of labels.
        train_split: prefix of the names of the training files.
        test_split: prefix of the names of the test files; null to hold out a part of the training images.
        validation_split: prefix of the names of the validation files; null to hold out a part of the training images.
        name: name of the data in run folders, tables and wandb; on the command line, default the name of the root.
        **kwargs: see `DataModule`.
    """

    name = "parquet"
    licence = "see the data set's card"

    def __init__(
        self,
        root: str | None = None,
        size: PositiveInt = 32,
        channels: PositiveInt = 3,
        mean: tuple[FiniteFloat, ...] | None = None,
        std: tuple[StandardDeviation, ...] | None = None,
        image_column: str = "image",
        label_column: str = "label",
        train_split: str = "train",
        test_split: str | None = "test",
        validation_split: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, **kwargs)
        self.name = name or type(self).name
        self.decoder = Decoder(channels, size)
        self.image_shape = (channels, size, size)
        self.mean, self.std = channel_statistics(channels, mean, std)
        self.image_column, self.label_column = image_column, label_column
        self.split_names = {"train": train_split, "validation": validation_split, "test": test_split}

    def read(self) -> DatasetContents:
        """Decode all splits into one cache; labels and class names are read from the files."""
        files = {part: self._files(name) for part, name in self.split_names.items() if name}
        paths = [path for found in files.values() for path in found]
        labels = {part: torch.cat([self._labels(path) for path in found]) for part, found in files.items()}
        counts = {part: len(column) for part, column in labels.items()}
        tree = FileTree(self.root)
        key = [self.image_column, *tree.fingerprint([path.relative_to(self.root).as_posix() for path in paths])]
        items = (item for path in paths for item in self._items(path))
        images, kept = decode_cached(type(self).name, key, sum(counts.values()), items, self.decoder, self.on_error)
        all_labels = torch.cat(list(labels.values()))
        rows = dict(zip(counts, torch.split(torch.arange(len(all_labels)), list(counts.values())), strict=True))
        kept_rows = {part: row[kept[row]] for part, row in rows.items()}
        classes = self._classes(paths[0]) or tuple(map(str, range(int(all_labels.max()) + 1)))
        return DatasetContents(
            images,
            all_labels,
            (Target(self.label_column, classes),),
            kept_rows["train"],
            kept_rows.get("test"),
            kept_rows.get("validation"),
        )

    def _files(self, split: str) -> list[Path]:
        found = sorted(self.root.rglob(f"{split}.parquet")) + sorted(self.root.rglob(f"{split}-*.parquet"))
        if not found:
            present = sorted({path.stem.split("-")[0] for path in self.root.rglob("*.parquet")})
            raise UserError(
                f"parquet: found no {split}-*.parquet in {self.root}; its splits are {', '.join(present) or 'none'}: "
                "set --data.root, or --data.train_split and --data.test_split"
            )
        return found

    def _open(self, path: Path, column: str) -> pq.ParquetFile:
        try:
            file = pq.ParquetFile(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise UserError(f"{path} is not a readable parquet file ({error}); download it again") from error
        if column not in file.schema_arrow.names:
            raise UserError(
                f"{path} has no column {column!r}, only {', '.join(file.schema_arrow.names)}: "
                "set --data.image_column or --data.label_column"
            )
        return file

    def _labels(self, path: Path) -> Tensor:
        column = self._open(path, self.label_column).read([self.label_column]).column(0)
        if not pa.types.is_integer(column.type):
            raise UserError(f"{path}: column {self.label_column} has the type {column.type}, expected integer labels")
        return torch.tensor(column.cast(pa.int64()).fill_null(-1).to_pylist(), dtype=torch.int64)

    def _items(self, path: Path) -> Iterator[Item]:
        row = 0
        for batch in self._open(path, self.image_column).iter_batches(CHUNK, columns=[self.image_column]):
            column = batch.column(0)
            if pa.types.is_struct(column.type):
                column = column.field("bytes")
            for data in column.to_pylist():
                yield f"row {row} of {path}", partial(bytes, data)
                row += 1

    def _classes(self, path: Path) -> tuple[str, ...]:
        metadata = self._open(path, self.label_column).schema_arrow.metadata or {}
        features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
        return tuple(features.get(self.label_column, {}).get("names", ()))
