"""Parquet files of a split: layouts of Hugging Face, missing shards, labels of any type."""

import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from ssl_bench.errors import UserError

SHARD = re.compile(r"-(\d{5})-of-(\d{5})$")


def find_shards(root: Path, split: str) -> list[Path]:
    """Files of a split in order: ``<split>.parquet``, ``<split>-*.parquet`` or ``<split>/*.parquet``, in any folder.

    Raises:
        UserError: there are none, a shard is missing, or there are several configurations of the data set.
    """
    every = sorted(root.rglob("*.parquet"))
    found = [path for path in every if path.parent.name == split and path.parent != root]
    found += [path for path in every if path.stem == split or path.stem.startswith(f"{split}-")]
    if not found:
        stems = {path.stem.split("-")[0]: path.parent.name for path in every}
        present = sorted({folder if stem.isdigit() else stem for stem, folder in stems.items()})
        raise UserError(
            f"parquet: found no {split}-*.parquet in {root}; its splits are {', '.join(present) or 'none'}: "
            "set --data.root, or --data.train_split and --data.test_split"
        )
    folders = sorted({path.parent.parent if path.parent.name == split else path.parent for path in found})
    if len(folders) > 1:
        names = ", ".join(folder.relative_to(root).as_posix() for folder in folders)
        raise UserError(
            f"parquet: {root} has several configurations ({names}): set --data.root to one of these folders"
        )
    for path in found:
        if (shard := SHARD.search(path.stem)) and int(shard[2]) > len(found):
            raise UserError(f"parquet: {len(found)} of {int(shard[2])} files {split}-*.parquet in {path.parent}; "
                            "download the others")  # fmt: skip
    numbers = [int(path.stem) for path in found if path.stem.isdigit()]
    if missing := sorted(set(range(max(numbers, default=-1) + 1)) - {*numbers}):
        raise UserError(f"parquet: {found[0].parent} lacks {missing[0]:04d}.parquet; download it")
    return found


def encode_labels(columns: Sequence[pa.ChunkedArray], names: Sequence[str]) -> tuple[list[Tensor], tuple[str, ...]]:
    """Numbers of the classes in each column, and names of the classes.

    Null and the integer -1 mean no label.

    Args:
        columns: labels of each file, all integers, all strings or all booleans.
        names: names of the classes, of which integer labels are the numbers; if empty, the classes are the values that
            occur in any column, in sorted order.

    Returns:
        int64 ``(N,)`` for each column, -1 for no label; and the names.

    Raises:
        UserError: the labels have another type or are below -1.
    """
    if names:
        columns = [column.cast(pa.int64()).fill_null(-1) for column in columns]
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
