"""Parquet files of a split: layouts of Hugging Face, missing shards, labels of any type."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from ssl_bench.data.class_folders import SPLITS
from ssl_bench.data.file_tree import files_below
from ssl_bench.errors import UserError

SHARD = re.compile(r"-(\d+)-of-(\d+)(?:-[0-9a-f]+)?$")
"""Number, count and optional hash at the end of the stem of a shard."""
NUMBER = re.compile(r"-(\d{1,3}|0\d+)$")
"""Number at the end of the stem of a shard without a count; not a year."""


def parquet_files(root: Path) -> list[Path]:
    """All parquet files below a folder except hidden ones, sorted; empty if there is no such folder.

    Raises:
        UserError: a folder cannot be read.
    """
    return sorted(path for path in files_below(root) if path.suffix == ".parquet") if root.is_dir() else []


def find_shards(root: Path, split: str) -> list[Path]:
    """Files of a split in order: ``<split>.parquet``, ``<split>-*.parquet`` or ``<split>/*.parquet``, in any folder.

    The name of the split may be in any case and in any of the usual spellings, see `class_folders.SPLITS`. The name of
    a file takes precedence over that of its folder.

    Raises:
        UserError: there are none, a shard is missing, or there are several spellings, configurations or copies.
    """
    by_word = _by_spelling(root, split)
    if not by_word:
        stems = {path.stem.split("-")[0]: path.parent.name for path in parquet_files(root)}
        present = sorted({folder if stem.isdigit() else stem for stem, folder in stems.items()})
        raise UserError(
            f"parquet: found no {split}-*.parquet in {root}; its splits are {', '.join(present) or 'none'}: "
            "set --data.root, or --data.train_split and --data.test_split (null holds the test split out of train)"
        )
    if len(by_word) > 1:
        usual, spellings = SPLITS.get(split.lower()), " and as ".join(sorted(by_word))
        raise UserError(f"parquet: {root} has the {usual} split as {spellings}; remove one")
    ((word, found),) = by_word.items()
    folders = sorted({_configuration(root, path, word) for path in found})
    if len(folders) > 1:
        names = ", ".join(folder.relative_to(root).as_posix() for folder in folders)
        raise UserError(
            f"parquet: {root} has several configurations ({names}): set --data.root to one of these folders"
        )
    _check_shards(found, word)
    return found


def has_shards(root: Path, split: str) -> bool:
    """Whether there are files of a split, see `find_shards`."""
    return bool(_by_spelling(root, split))


def check_one_configuration(root: Path, files: Mapping[str, Sequence[Path]]) -> None:
    """Refuse splits of different configurations, which may have different images or classes.

    Args:
        root: the folder of the parquet files.
        files: files of each split, by the name of the split.

    Raises:
        UserError: two splits are of different configurations.
    """
    (first, folder), *others = ((split, _configuration(root, found[0], split)) for split, found in files.items())
    for split, other in others:
        if other != folder:
            names = [path.relative_to(root).as_posix() for path in (folder, other)]
            raise UserError(
                f"parquet: {root} has the {first} split in the configuration {names[0]} and the {split} split in "
                f"{names[1]}; set --data.root to one configuration, or move the files of one data set into one folder"
            )


def _by_spelling(root: Path, split: str) -> dict[str, list[Path]]:
    """Files of a split by the spelling of its name in lower case."""
    usual = SPLITS.get(split.lower())
    words = {word for word, of in SPLITS.items() if of == usual} | {split.lower()}
    found: dict[str, list[Path]] = {}
    for path in parquet_files(root):
        if word := _split_word(root, path, words):
            found.setdefault(word, []).append(path)
    return found


def _configuration(root: Path, path: Path, split: str) -> Path:
    """Folder of the configuration of a file: its folder, or the one above if its folder has the name of a split."""
    return path.parent.parent if _folder(root, path) in {split.lower(), *SPLITS} else path.parent


def _folder(root: Path, path: Path) -> str:
    """Name of the folder of a file in lower case; empty for the root."""
    return "" if path.parent == root else path.parent.name.lower()


def _split_word(root: Path, path: Path, words: set[str]) -> str | None:
    """The word of ``words`` that names the split of a file, or None."""
    stem, folder = path.stem.lower(), _folder(root, path)
    if word := next((word for word in words if stem == word or stem.startswith(f"{word}-")), None):
        return word
    return folder if folder in words and stem.split("-")[0] not in SPLITS else None


def _check_shards(found: Sequence[Path], word: str) -> None:
    """Raise a UserError if shards are missing, or if files of several layouts may contain the same images."""
    shards = [SHARD.search(path.stem) for path in found]
    whole = sum(path.stem.lower() == word for path in found)
    layouts = {
        f"of-{shard[2]}" if shard else str(path.stem.isdigit()) for path, shard in zip(found, shards, strict=True)
    }
    indices = [int(shard[1]) for shard in shards if shard]
    if len(layouts) > 1 or len(indices) > len(set(indices)) or (whole and len(found) > 1):
        names = ", ".join(path.relative_to(found[0].parent.parent).as_posix() for path in found[:4])
        raise UserError(f"parquet: the files of the {word} split are of several layouts ({names}); keep one of them")
    if shards[0]:
        count = int(shards[0][2])
        if missing := sorted(set(range(count)) - {*indices}):
            width, hashed = len(shards[0][1]), "-*" * (not shards[0][0].endswith(shards[0][2]))
            name = f"{found[0].stem[: shards[0].start()]}-{missing[0]:0{width}d}-of-{count:0{width}d}{hashed}.parquet"
            raise UserError(
                f"parquet: {len(found)} of {count} files {word}-*.parquet in {found[0].parent}; download {name}"
            )
    ends = [end for path in found if (end := NUMBER.search(path.stem)) and not SHARD.search(path.stem)]
    counted = {int(end[1]) for end in ends}
    if missing := sorted(set(range(min(counted | {1}), max(counted, default=0))) - counted):
        name = f"{ends[0].string[: ends[0].start()]}-{missing[0]:0{len(ends[0][1])}d}.parquet"
        raise UserError(f"parquet: {found[0].parent} lacks {name}; download it")
    numbers = [int(path.stem) for path in found if path.stem.isdigit()]
    if missing := sorted(set(range(max(numbers, default=-1) + 1)) - {*numbers}):
        raise UserError(f"parquet: {found[0].parent} lacks {missing[0]:04d}.parquet; download it")


def encode_labels(columns: Sequence[pa.ChunkedArray], names: Sequence[str]) -> tuple[list[Tensor], tuple[str, ...]]:
    """Numbers of the classes in each column, and names of the classes.

    Null and the integer -1 mean no label.

    Args:
        columns: labels of each file, all integers, all strings or all booleans.
        names: names of the classes, of which integer labels are the numbers; if empty, or if the labels are strings,
            the classes are the values that occur in any column, in sorted order.

    Returns:
        int64 ``(N,)`` for each column, -1 for no label; and the names.

    Raises:
        UserError: integers are below -1, or too large for int64 where they must have that type.
    """
    is_text = pa.types.is_string(columns[0].type)
    if (names and not is_text) or len({column.type for column in columns}) > 1:
        try:
            columns = [column.cast(pa.int64()) for column in columns]
        except pa.ArrowInvalid as error:
            raise UserError(
                "labels are above the largest int64; expected labels below 2^63 if their classes have names, or if the "
                "integers of the files have different types"
            ) from error
    if names and not is_text:
        columns = [column.fill_null(-1) for column in columns]
        return [torch.from_numpy(column.to_numpy().copy()) for column in columns], tuple(names)
    values = pc.unique(pa.chunked_array([chunk for column in columns for chunk in column.chunks])).drop_null()
    if pa.types.is_boolean(values.type):
        columns, values = [column.cast(pa.int8()) for column in columns], pa.array([0, 1], pa.int8())
    values = values.take(pc.sort_indices(values))
    if pa.types.is_integer(values.type) and len(values) and values[0].as_py() < 0:
        if values[0].as_py() < -1:
            raise UserError(f"labels are integers of at least 0, or -1 for no label; got {values[0]}")
        values = values[1:]
    codes = [pc.index_in(column, value_set=values).fill_null(-1).cast(pa.int64()) for column in columns]
    return [torch.from_numpy(code.to_numpy().copy()) for code in codes], tuple(map(str, values.to_pylist()))
