"""Rows of tensors in many files, written shard by shard by several processes and resumed after an interruption."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ssl_bench.distributed import all_reduce_min, barrier, rank, share_out, world_size
from ssl_bench.errors import UserError
from ssl_bench.files import replacing, write_tensors
from ssl_bench.ranges import NonNegativeInt, PositiveInt, check_ranges

SHARD_ROWS = 1000


class Shards:
    """A folder of named tensors of ``count`` rows each, in safetensors files (shards) of ``shard_rows`` rows.

    ``index.json`` describes the folder. Files are written atomically, so every existing file is complete, and an
    interrupted command resumes with the missing files. Files are memory-mapped on first access; only the requested rows
    are loaded.

    Attributes:
        folder: the folder.
        key: settings and inputs that the rows were computed from; folders with different keys have different rows.
        notes: values computed when the folder was created that are not part of the key, such as the eps1 of a search.
        count: total number of rows.
        shard_rows: number of rows of each file; the last file may have fewer.
    """

    def __init__(self, folder: str | Path) -> None:
        """Open an existing folder.

        Raises:
            UserError: it is not a folder of shards.
        """
        self.folder = Path(folder)
        try:
            index = json.loads((self.folder / "index.json").read_text(encoding="utf-8"))
            self.key: dict[str, Any] = index["key"]
            self.notes: dict[str, Any] = index["notes"]
            self.count, self.shard_rows = int(index["count"]), int(index["shard_rows"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{folder} has no readable index.json: give a folder of `ssl-bench views`") from error
        self._open: dict[int, dict[str, Tensor]] = {}

    @classmethod
    @check_ranges
    def create(
        cls,
        folder: Path,
        key: dict[str, Any],
        count: NonNegativeInt,
        notes: Callable[[], dict[str, Any]] = dict,
        shard_rows: PositiveInt = SHARD_ROWS,
    ) -> "Shards":
        """Create a folder, or open an existing one to resume it. All processes of the group call this together.

        Args:
            folder: the folder.
            key: settings and inputs that identify the rows, storable as JSON.
            count: total number of rows.
            notes: function that all processes call if the folder is new; the result of the first process is stored
                beside the key.
            shard_rows: number of rows of each file; an existing folder keeps its number.

        Raises:
            UserError: the folder has rows of another key or rows without a key, or cannot be written. All processes
                raise the error.
        """
        barrier()  # all processes must check the folder before the first one creates it
        found = (folder / "index.json").is_file()
        stray = not found and any(folder.glob("*.safetensors"))
        barrier()
        if stray:
            raise UserError(f"{folder} has rows but no index.json: give another --out, or delete it")
        if found:
            shards, key = cls(folder), json.loads(json.dumps(key))  # JSON turns tuples into lists
            if different := describe_difference({**shards.key, "count": shards.count}, {**key, "count": count}):
                raise UserError(f"{folder} has other rows: {different}; give another --out, or delete it")
            return shards
        index = {"key": key, "notes": notes(), "count": count, "shard_rows": shard_rows}

        def write() -> None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with replacing(folder / "index.json") as file:
                    file.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
            except OSError as error:
                raise UserError(f"cannot write to {folder}: {error.strerror}; give another --out") from error

        share_out([write])  # only the first process writes; its error is raised in all
        return cls(folder)

    def __len__(self) -> int:
        return self.count

    def rows(self, shard: int) -> Tensor:
        """Indices of the rows of a shard, int64."""
        return torch.arange(shard * self.shard_rows, min((shard + 1) * self.shard_rows, self.count))

    def missing(self) -> list[int]:
        """Indices of the shards that do not exist yet."""
        return [shard for shard in range(-(-self.count // self.shard_rows)) if not self._file(shard).is_file()]

    def assigned(self, device: torch.device) -> list[int]:
        """Every W-th missing shard, for this process. All processes of the group call this together."""
        missing = torch.zeros(-(-self.count // self.shard_rows), device=device)
        missing[self.missing()] = 1
        # Another process may already have written a shard that this one lists as missing, so all agree on one list.
        agreed = all_reduce_min(missing).nonzero().squeeze(1).tolist()
        return agreed[rank() :: world_size()]

    def write(self, shard: int, tensors: dict[str, Tensor]) -> None:
        """Write a shard: tensors ``(rows of the shard, ...)`` by name.

        Raises:
            RunError: the disk is full.
            UserError: the file cannot be written for another reason.
        """
        n = len(self.rows(shard))
        assert all(len(tensor) == n for tensor in tensors.values()), f"shard {shard} has {n} rows"
        try:
            write_tensors(self._file(shard), tensors)
        except OSError as error:
            raise UserError(f"cannot write {self._file(shard)} ({error.strerror}); other shards are kept") from error

    def require_complete(self, command: str) -> "Shards":
        """Return self if no shard is missing.

        Args:
            command: the command that resumes writing, for the message.

        Raises:
            UserError: rows are missing.
        """
        if missing := self.missing():
            rows = sum(len(self.rows(shard)) for shard in missing)
            raise UserError(f"{self.folder}: {rows} of {self.count} rows are missing: resume with {command}")
        return self

    def read(self, name: str, rows: Tensor, columns: Tensor | None = None) -> Tensor:
        """Rows of one tensor, or single entries of them.

        Args:
            name: name of the tensor.
            rows: int64 ``(n,)`` on the CPU.
            columns: int64 ``(n, J)``, J indices along the first dimension of each row; by default the whole rows.

        Returns:
            ``(n, ...)``, or ``(n, J, ...)``, on the CPU.

        Raises:
            UserError: a shard is damaged.
        """
        places = [divmod(row, self.shard_rows) for row in rows.tolist()]
        if columns is None:
            return torch.stack([self._shard(shard)[name][row] for shard, row in places])
        # Only the requested entries are copied. This is as fast as advanced indexing shard by shard: a median of
        # 0.57 ms for 128 random rows of 50 shards.
        entries = torch.stack(
            [
                self._shard(shard)[name][row, column]
                for (shard, row), row_columns in zip(places, columns.tolist(), strict=True)
                for column in row_columns
            ]
        )
        return entries.reshape(*columns.shape, *entries.shape[1:])

    def read_all(self, name: str, device: torch.device | None = None, count: int | None = None) -> Tensor:
        """The first `count` rows of one tensor on a device; by default all rows."""
        count = self.count if count is None else count
        shards = range(-(-count // self.shard_rows))
        return torch.cat([self._shard(shard)[name].to(device) for shard in shards])[:count]

    def tensor_names(self) -> list[str]:
        """Names of the tensors of a row."""
        return list(self._shard(0))

    def nbytes(self, name: str) -> int:
        """Size of one tensor with all rows, in bytes."""
        first = self._shard(0)[name]
        return first[0].nbytes * self.count

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of one row of a tensor.

        Raises:
            UserError: there is no such tensor.
        """
        tensors = self._shard(0)
        if name not in tensors:
            raise UserError(f"{self.folder} contains {', '.join(tensors)}, not {name}: give a folder of {name}")
        return tuple(tensors[name].shape[1:])

    def _file(self, shard: int) -> Path:
        return self.folder / f"{shard:05d}.safetensors"

    def _shard(self, shard: int) -> dict[str, Tensor]:
        if shard not in self._open:
            try:
                self._open[shard] = load_file(self._file(shard))
            except (OSError, SafetensorError) as error:
                path = self._file(shard)
                raise UserError(
                    f"{path} cannot be read ({error}); delete it and run the command that wrote it again"
                ) from error
        return self._open[shard]


def describe_difference(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    """Text that lists the differences of two keys; empty if they are equal."""
    theirs, ours = _flat(theirs), _flat(ours)
    names = [name for name in {**theirs, **ours} if theirs.get(name) != ours.get(name)]
    return ", ".join(f"{name} is {_short(theirs.get(name))} there and {_short(ours.get(name))} here" for name in names)


def _flat(key: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in key.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _short(value: object) -> str:
    return f"{value:.12}" if isinstance(value, str) else str(value)
