"""Your own images: parquet files in the layout of Hugging Face."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from ssl_bench.data.cache import CHUNK, Item, decode_cached
from ssl_bench.data.class_folders import SPLITS
from ssl_bench.data.contents import DatasetContents
from ssl_bench.data.decode import Decoder
from ssl_bench.data.file_tree import FileTree
from ssl_bench.data.folder import channel_statistics
from ssl_bench.data.module import DataModule
from ssl_bench.data.parquet_files import (
    check_one_configuration,
    encode_labels,
    find_shards,
    has_shards,
    parquet_files,
)
from ssl_bench.data.transforms import FiniteFloat, StandardDeviation
from ssl_bench.data.types import Target
from ssl_bench.errors import UserError, did_you_mean
from ssl_bench.ranges import PositiveInt, check_ranges


@check_ranges
class Parquet(DataModule):
    """Files ``<split>-*.parquet``, ``<split>.parquet`` or ``<split>/*.parquet`` with columns of images and labels.

    The image column contains encoded images of any format that Pillow reads, as bytes, as a struct with a field
    ``bytes``, or as paths of files relative to the parquet file (also in a field ``path`` of the struct). Labels are
    integers, strings or booleans; null or -1 means no label. Images are cropped to their central square and resized to
    ``size``; images of that size are not changed. Parquet files of no split are counted as skipped.

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
        validation_split: prefix of the names of the validation files. If null, files of one of the usual spellings are
            used if there are any and they are not the train or test split; else a part of the training images is held
            out.
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
        splits = self._splits()
        files = {part: find_shards(self.root, name) for part, name in splits.items()}
        _check_disjoint(files)
        check_one_configuration(self.root, {splits[part]: found for part, found in files.items()})
        paths = [path for found in files.values() for path in found]
        columns = [self._labels(path) for path in paths]
        kinds = {str(column.type) for column in columns}
        if len(kinds) > 1 and not all(pa.types.is_integer(column.type) for column in columns):
            raise UserError(f"{self.root}: column {self.label_column} has the types {', '.join(sorted(kinds))}")
        codes, classes = encode_labels(columns, self._classes(paths))
        by_path = dict(zip(paths, codes, strict=True))
        labels = {part: torch.cat([by_path[path] for path in found]) for part, found in files.items()}
        counts = {part: len(column) for part, column in labels.items()}
        tree = FileTree(self.root)
        named = [name for path in paths for name in self._image_files(path)]
        key = [self.image_column, *tree.fingerprint([path.relative_to(self.root).as_posix() for path in paths] + named)]
        items = (item for path in paths for item in self._items(path))
        images, kept = decode_cached(type(self).name, key, sum(counts.values()), items, self.decoder, self.on_error)
        all_labels = torch.cat(list(labels.values()))
        rows = dict(zip(counts, torch.split(torch.arange(len(all_labels)), list(counts.values())), strict=True))
        kept_rows = {part: row[kept[row]] for part, row in rows.items()}
        return DatasetContents(
            images,
            all_labels,
            (Target(self.label_column, classes),),
            kept_rows["train"],
            kept_rows.get("test"),
            kept_rows.get("validation"),
            int((~kept).sum()) + len(set(parquet_files(self.root)) - set(paths)),
        )

    def _splits(self) -> dict[str, str]:
        """Name of each split that has files, by its part: train, validation or test."""
        for part, name in self.split_names.items():
            if name == "":
                null = "" if part == "train" else ", or null to hold it out of train"
                raise UserError(f"--data.{part}_split is empty, expected a prefix of file names such as {part}{null}")
        names = {part: name for part, name in self.split_names.items() if name}
        is_used = "validation" in names or any(SPLITS.get(name.lower()) == "validation" for name in names.values())
        if not is_used and has_shards(self.root, "validation"):
            names["validation"] = "validation"
        return names

    def _open(self, path: Path, column: str) -> pq.ParquetFile:
        try:
            file = pq.ParquetFile(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise UserError(f"{path} is not a readable parquet file ({error}); download it again") from error
        if column not in file.schema_arrow.names:
            flag = "--data.label_column" if column == self.label_column else "--data.image_column"
            nearest = did_you_mean(column, file.schema_arrow.names)
            raise UserError(f"{path} has no column {column!r} ({flag}): {nearest}")
        return file

    def _labels(self, path: Path) -> pa.ChunkedArray:
        column = self._open(path, self.label_column).read([self.label_column]).column(0)
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        known = (pa.types.is_integer, pa.types.is_boolean, pa.types.is_string, pa.types.is_large_string)
        if not any(is_kind(kind) for is_kind in known):
            raise UserError(
                f"{path}: column {self.label_column} has the type {kind}, expected integers, strings or booleans"
            )
        return column.cast(pa.string() if pa.types.is_large_string(kind) else kind)

    def _items(self, path: Path) -> Iterator[Item]:
        row = 0
        for batch in self._open(path, self.image_column).iter_batches(CHUNK, columns=[self.image_column]):
            for cell in batch.column(0).to_pylist():
                yield f"row {row} of {path}", partial(self._content, path.parent, cell)
                row += 1

    @staticmethod
    def _content(folder: Path, cell: Any) -> bytes:
        """An encoded image: bytes, or the content of a file, whose path is relative to the folder."""
        if isinstance(cell, dict):
            cell = cell.get("path") if cell.get("bytes") is None else cell["bytes"]
        if cell is None:
            raise ValueError("no image")
        return cell if isinstance(cell, bytes) else (folder / cell).read_bytes()

    def _image_files(self, path: Path) -> list[str]:
        """Image files that a parquet file names, relative to the root; their times are part of the cache's key."""
        file = self._open(path, self.image_column)
        kind = file.schema_arrow.field(self.image_column).type
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            return []
        fields = {field.name for field in kind} if pa.types.is_struct(kind) else set()
        value = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not (fields & {"bytes", "path"} or pa.types.is_string(value) or pa.types.is_large_string(value)):
            raise UserError(
                f"{path}: column {self.image_column} has the type {kind}, expected encoded images as bytes, paths of "
                "images, or a struct with a field bytes or path: set --data.image_column"
            )
        if fields:
            cells = [cell for cell in file.read([self.image_column]).column(0).to_pylist() if cell]
            names = [cell["path"] for cell in cells if cell.get("bytes") is None and cell.get("path")]
        else:
            names = file.read([self.image_column]).column(0).to_pylist()
        files = [path.parent / name for name in names if name]
        return [(file.relative_to(self.root) if file.is_relative_to(self.root) else file).as_posix() for file in files]

    def _classes(self, paths: Sequence[Path]) -> tuple[str, ...]:
        """Names of the classes in the schemas of the files, which must agree; empty if no file has any."""
        found = {names: path for path in paths if (names := self._class_names(path))}
        if len(found) > 1:
            (first, path), (second, other) = list(found.items())[:2]
            raise UserError(
                f"{path} and {other} name the classes of {self.label_column} differently ({', '.join(first[:3])}; "
                f"{', '.join(second[:3])}); write both with the same order of classes"
            )
        return next(iter(found), ())

    def _class_names(self, path: Path) -> tuple[str, ...]:
        """Names of the classes that the ``datasets`` library stores in the schema; empty if there are none."""
        metadata = self._open(path, self.label_column).schema_arrow.metadata or {}
        try:
            value = json.loads(metadata.get(b"huggingface", b"{}"))
        except ValueError as error:
            raise UserError(
                f"{path}: the metadata huggingface of its schema is not JSON; write the file again"
            ) from error
        for key in ("info", "features", self.label_column, "names"):
            value = value.get(key) if isinstance(value, dict) else None
        return tuple(map(str, value)) if isinstance(value, list) else ()


def _check_disjoint(files: Mapping[str, Sequence[Path]]) -> None:
    """Raise a UserError if a file belongs to two splits: the same images would be trained on and scored."""
    for (first, found), (second, others) in combinations(files.items(), 2):
        if same := sorted(set(found) & set(others)):
            raise UserError(
                f"--data.{first}_split and --data.{second}_split both read {same[0]}; give two splits, or null to hold "
                "the test or validation split out of train"
            )
