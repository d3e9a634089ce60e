"""Rows of tensors in many files: made shard by shard by many processes, kept over a kill, read at random."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ssl_bench.distributed import all_reduce_min, barrier, rank, share_out, world_size
from ssl_bench.errors import UserError
from ssl_bench.files import replacing

SHARD_ROWS = 1000


class Shards:
    """A folder of ``count`` rows, ``shard_rows`` to a safetensors file, and ``index.json``: what they are of.

    A file is there whole or not at all, so the files that are there are the progress of whoever makes them. They are
    mapped to memory when they are first read: a batch costs the rows it has.

    Attributes:
        folder: the folder.
        key: what the rows are of; rows under another key are other rows.
        notes: what was found out when the folder was made, beside the key.
        count: rows in all.
        shard_rows: rows of a file; the last has what is left.
    """

    def __init__(self, folder: str | Path) -> None:
        """Open a folder.

        Raises:
            UserError: it is no folder of shards.
        """
        self.folder = Path(folder)
        try:
            index = json.loads((self.folder / "index.json").read_text(encoding="utf-8"))
            self.key: dict[str, Any] = index["key"]
            self.notes: dict[str, Any] = index["notes"]
            self.count, self.shard_rows = int(index["count"]), int(index["shard_rows"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{folder} has no readable index.json: give one that `ssl-bench views` made") from error
        self._open: dict[int, dict[str, Tensor]] = {}

    @classmethod
    def create(
        cls,
        folder: Path,
        key: dict[str, Any],
        count: int,
        notes: Callable[[], dict[str, Any]] = dict,
        shard_rows: int = SHARD_ROWS,
    ) -> "Shards":
        """Make a folder, or open the one that is there to go on with it. All processes call this together.

        Args:
            folder: the folder.
            key: what the rows are of, plain data as JSON has it.
            count: rows in all.
            notes: called where the folder is new, by all processes; what the first finds out is kept beside the key.
            shard_rows: rows of a file; one that is there keeps its own.

        Raises:
            UserError: the folder has rows of another key, or of none, or cannot be written; in every process.
        """
        barrier()  # every process finds it made or unmade, and none what another has just made
        found = (folder / "index.json").is_file()
        stray = not found and any(folder.glob("*.safetensors"))
        barrier()
        if stray:
            raise UserError(f"{folder} has rows and no index.json that says of what: give another --out, or delete it")
        if found:
            shards, key = cls(folder), json.loads(json.dumps(key))  # tuples are lists there
            if different := describe_difference({**shards.key, "count": shards.count}, {**key, "count": count}):
                raise UserError(f"{folder} holds others: {different}; give another --out, or delete it")
            return shards
        index = {"key": key, "notes": notes(), "count": count, "shard_rows": shard_rows}

        def write() -> None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with replacing(folder / "index.json") as file:
                    file.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
            except OSError as error:
                raise UserError(f"cannot write to {folder}: {error.strerror}; give another --out") from error

        share_out([write])  # the first process's; what it raises all do
        return cls(folder)

    def __len__(self) -> int:
        return self.count

    def rows(self, shard: int) -> Tensor:
        """Numbers of a shard's rows, int64."""
        return torch.arange(shard * self.shard_rows, min((shard + 1) * self.shard_rows, self.count))

    def missing(self) -> list[int]:
        """Shards that are not there yet."""
        return [shard for shard in range(-(-self.count // self.shard_rows)) if not self._file(shard).is_file()]

    def assigned(self, device: torch.device) -> list[int]:
        """The missing shards that this process makes, every W-th. All processes of the group call this together."""
        unmade = torch.zeros(-(-self.count // self.shard_rows), device=device)
        unmade[self.missing()] = 1
        # What a process lists just then may be what another has just written: all go by one list.
        together = all_reduce_min(unmade).nonzero().squeeze(1).tolist()
        return together[rank() :: world_size()]

    def write(self, shard: int, tensors: dict[str, Tensor]) -> None:
        """Write a shard: tensors ``(rows of the shard, ...)`` by name.

        Raises:
            UserError: the file cannot be written.
        """
        n = len(self.rows(shard))
        assert all(len(tensor) == n for tensor in tensors.values()), f"shard {shard} has {n} rows"
        try:
            with replacing(self._file(shard)) as file:
                save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, file)
        except (OSError, SafetensorError) as error:
            raise UserError(f"cannot write {self._file(shard)} ({error}); make room: what is there is kept") from error

    def require_complete(self, what: str) -> "Shards":
        """This, where every shard is there.

        Args:
            what: the command that goes on with it, for the message.

        Raises:
            UserError: rows are missing.
        """
        if missing := self.missing():
            rows = sum(len(self.rows(shard)) for shard in missing)
            raise UserError(f"{self.folder}: {rows} of {self.count} rows are missing; {what} once more goes on with it")
        return self

    def read(self, name: str, rows: Tensor, columns: Tensor | None = None) -> Tensor:
        """Rows of one tensor, or single entries of them.

        Args:
            name: of the tensor.
            rows: int64 ``(n,)`` on the CPU.
            columns: int64 ``(n, J)``, of each row the places along its first dimension; all of it by default.

        Returns:
            ``(n, ...)``, or ``(n, J, ...)``, on the CPU.

        Raises:
            UserError: a shard is damaged.
        """
        places = [divmod(row, self.shard_rows) for row in rows.tolist()]
        if columns is None:
            return torch.stack([self._shard(shard)[name][row] for shard, row in places])
        # Entry by entry only what is asked for is copied; measured no slower than advanced indexing shard by shard:
        # 0.57 ms, the median, for 128 random rows of 50 shards.
        entries = [
            self._shard(shard)[name][row, column]
            for (shard, row), row_columns in zip(places, columns.tolist(), strict=True)
            for column in row_columns
        ]
        return torch.stack(entries).unflatten(0, columns.shape)  # type: ignore[no-any-return]

    def read_all(self, name: str, device: torch.device | None = None, count: int | None = None) -> Tensor:
        """One tensor's rows, the first `count` of them, on a device."""
        count = self.count if count is None else count
        shards = range(-(-count // self.shard_rows))
        return torch.cat([self._shard(shard)[name].to(device) for shard in shards])[:count]

    def tensor_names(self) -> list[str]:
        """Of the rows' tensors."""
        return list(self._shard(0))

    def nbytes(self, name: str) -> int:
        """Bytes of one whole tensor."""
        first = self._shard(0)[name]
        return first[0].nbytes * self.count

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of one row of a tensor.

        Raises:
            UserError: the rows have no such tensor.
        """
        tensors = self._shard(0)
        if name not in tensors:
            raise UserError(f"{self.folder} holds {', '.join(tensors)}, not {name}: give a folder of {name}")
        return tuple(tensors[name].shape[1:])

    def _file(self, shard: int) -> Path:
        return self.folder / f"{shard:05d}.safetensors"

    def _shard(self, shard: int) -> dict[str, Tensor]:
        if shard not in self._open:
            try:
                self._open[shard] = load_file(self._file(shard))
            except (OSError, SafetensorError) as error:
                path = self._file(shard)
                raise UserError(f"{path} cannot be read ({error}); delete it, and make the folder again") from error
        return self._open[shard]


def describe_difference(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    """What differs between two keys, in words; empty where nothing does."""
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
