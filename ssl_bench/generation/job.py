"""What the `ssl-bench views` commands share: their flags, folders made shard by shard, lines on how far they are."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ssl_bench.config.identity import digest
from ssl_bench.data.shards import SHARD_ROWS, Shards
from ssl_bench.distributed import barrier, rank, stopping_together
from ssl_bench.errors import UserError

PRECISIONS = {"float32": None, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Job:
    """What every command takes.

    Args:
        out: the folder; by default views/KIND-DATA-HASH, of what it is to hold.
        images: rows to make, the first of the data's fixed order; by default all that there are.
        batch_size: images, or anchors, at a time.
        precision: of the networks; bf16 is with channels-last convolutions.
        shard_rows: rows of a file; a kill costs each process the file that it is at, a search those that it has begun:
            as many as there are still anchors of.
    """

    out: Path | None = None
    images: int | None = None
    batch_size: int = 128
    precision: Literal["float32", "bf16"] = "float32"
    shard_rows: int = SHARD_ROWS

    def __post_init__(self) -> None:
        if min(self.batch_size, self.shard_rows, 1 if self.images is None else self.images) < 1:
            raise UserError(
                f"images {self.images}, batch_size {self.batch_size}, shard_rows {self.shard_rows}: give 1 or more"
            )

    @property
    def autocast(self) -> torch.dtype | None:
        """What torch.autocast is told."""
        return PRECISIONS[self.precision]

    def count(self, available: int, what: str) -> int:
        """Rows to make.

        Raises:
            UserError: there are fewer.
        """
        if (self.images or 0) > available:
            raise UserError(f"--images {self.images}: there are {available} in {what}")
        return self.images or available

    def lay_out(self, *modules: torch.nn.Module) -> None:
        """Lay convolutions out for the precision."""
        if self.autocast:
            for module in modules:
                module.to(memory_format=torch.channels_last)

    def make(self, key: dict[str, Any], data: str, count: int, notes: Callable[[], dict[str, Any]]) -> Shards:
        """The folder, made or opened to go on with it.

        Args:
            key: what it is to hold.
            data: what its name calls the data.
            count: rows.
            notes: found out where it is made, see `Shards.create`.
        """
        key = {**key, "precision": self.precision}
        folder = self.out or Path("views") / f"{key['kind']}-{data}-{digest([key, count])}"
        return Shards.create(folder, key, count, lambda: {"data": data, **notes()}, self.shard_rows)


class Progress:
    """Lines on stderr, at most one in ten seconds, by the first process.

    Args:
        shards: what is being made.
        every: seconds from one line to the next.
    """

    def __init__(self, shards: Shards, every: float = 10.0):
        self.what, self.every = shards.key["kind"], every
        self.total = shards.count - sum(len(shards.rows(shard)) for shard in shards.missing())
        self.of, self.done = shards.count, 0
        self.start = self.last = time.perf_counter()
        if self.total and rank() == 0:
            print(f"{self.what}: goes on, {self.total} of {self.of} are there", file=sys.stderr)

    def __call__(self, rows: int) -> None:
        """So many more are done by this process."""
        self.done += rows
        now = time.perf_counter()
        if rank() == 0 and now - self.last > self.every:
            self.last, rate = now, self.done / (now - self.start)
            print(f"{self.what}: {self.done} more by this process, {rate:.1f}/s, {self.of} in all", file=sys.stderr)


def fill(shards: Shards, device: torch.device, batch_size: int, make: Callable[[Tensor], dict[str, Tensor]]) -> Path:
    """Make the missing shards, this process its part of them.

    Args:
        shards: the folder.
        device: of the processes' group.
        batch_size: rows at a time.
        make: row numbers int64 ``(n,)`` to tensors ``(n, ...)`` by name; ``seconds`` of each row are added.

    Returns:
        The folder.
    """
    progress = Progress(shards)
    with stopping_together(shards.folder):
        for shard in shards.assigned(device):
            parts = []
            for rows in shards.rows(shard).split(batch_size):
                start = time.perf_counter()
                made = {name: tensor.cpu() for name, tensor in make(rows).items()}
                made["seconds"] = torch.full((len(rows),), (time.perf_counter() - start) / len(rows))
                parts.append(made)
                progress(len(rows))
            shards.write(shard, {name: torch.cat([part[name] for part in parts]) for name in parts[0]})
        barrier()
    return shards.folder


def to_uint8(images: Tensor) -> Tensor:
    """Pixels of images in [0, 1]."""
    return images.float().clamp(0, 1).mul(255).round().to(torch.uint8)
