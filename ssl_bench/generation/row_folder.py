"""Folders of rows: made from a command's settings, filled shard by shard, with progress lines on stderr."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssl_bench.config.identity import digest
from ssl_bench.config.names import as_name
from ssl_bench.data.shards import Shards
from ssl_bench.distributed import barrier, rank
from ssl_bench.errors import UserError
from ssl_bench.files import remove_unfinished
from ssl_bench.generation.settings import Job
from ssl_bench.lock import folder_lock
from ssl_bench.networks.layout import use_channels_last

AUTOCAST = {"float32": None, "bf16": torch.bfloat16}
"""The dtype of torch.autocast for `Job.precision`; None disables it."""


def autocast_dtype(job: Job) -> torch.dtype | None:
    """Return the dtype for torch.autocast; None disables it."""
    return AUTOCAST[job.precision]


def number_of_rows(job: Job, available: int, source: object) -> int:
    """Return the number of rows to make.

    Args:
        job: see `Job`; `Job.images` rows, by default all available.
        available: number of images available.
        source: origin of the images, for the message.

    Raises:
        UserError: fewer images are available than `Job.images`.
    """
    if (job.images or 0) > available:
        raise UserError(f"--images {job.images}: there are {available} in {source}")
    return job.images or available


def use_precision(job: Job, *modules: nn.Module) -> None:
    """Use channels-last convolutions if the precision is bf16."""
    if autocast_dtype(job):
        for module in modules:
            use_channels_last(module)


@contextmanager
def locked_folder(
    job: Job, key: dict[str, Any], data: str, count: int, notes: Callable[[], dict[str, Any]]
) -> Iterator[Shards]:
    """Make the folder of a command, or open an existing one; while rows are missing, it is locked in the context.

    Args:
        job: see `Job`.
        key: values that identify the rows; the precision is added to them.
        data: name of the data in the default name of the folder.
        count: number of rows.
        notes: returns the notes of a new folder, see `Shards.create`; not called for an existing folder.
    """
    key = {**key, "precision": job.precision}
    folder = job.out or Path("views") / f"{key['kind']}-{as_name(data)}-{digest([key, count])}"

    def complete() -> bool:
        return (folder / "index.json").is_file() and not Shards(folder).missing()

    with folder_lock(folder, job.wait, first=rank() == 0, until=complete):
        if rank() == 0:
            remove_unfinished(folder)
        yield Shards.create(folder, key, count, lambda: {"data": data, **notes()}, job.shard_rows)


class Progress:
    """Progress lines on stderr, printed by the first process, at most one in ten seconds.

    Args:
        shards: the folder that is filled.
        interval: seconds between two lines.
    """

    def __init__(self, shards: Shards, interval: float = 10.0):
        self.kind, self.interval, self.count = shards.key["kind"], interval, shards.count
        self.done = 0
        self.start = self.last = time.perf_counter()
        existing = shards.count - sum(len(shards.rows(shard)) for shard in shards.missing())
        if existing and rank() == 0:
            print(f"{self.kind}: resuming: {existing} of {self.count} rows are done", file=sys.stderr)

    def __call__(self, rows: int) -> None:
        """Count rows that this process has finished."""
        self.done += rows
        now = time.perf_counter()
        if rank() == 0 and now - self.last > self.interval:
            self.last, rate = now, self.done / (now - self.start)
            print(
                f"{self.kind}: {self.done} rows done by this process, {rate:.1f} rows/s, {self.count} rows in all",
                file=sys.stderr,
            )


def fill(shards: Shards, device: torch.device, batch_size: int, make: Callable[[Tensor], dict[str, Tensor]]) -> Path:
    """Make the missing shards; each process makes its share.

    The command `commands.search` writes its shards itself, because its rows are finished in any order.

    Args:
        shards: the folder.
        device: device of the process group.
        batch_size: number of rows that are made at a time.
        make: given row numbers int64 ``(n,)``, returns tensors ``(n, ...)`` by name. The time of each row is added as
            ``seconds``.

    Returns:
        The folder.
    """
    progress = Progress(shards)
    for shard in shards.assigned(device):
        parts = []
        for rows in shards.rows(shard).split(batch_size):
            start = time.perf_counter()
            tensors = {name: tensor.cpu() for name, tensor in make(rows).items()}
            tensors["seconds"] = torch.full((len(rows),), (time.perf_counter() - start) / len(rows))
            parts.append(tensors)
            progress(len(rows))
        shards.write(shard, {name: torch.cat([part[name] for part in parts]) for name in parts[0]})
    barrier()
    return shards.folder


def to_uint8(images: Tensor) -> Tensor:
    """Convert images in [0, 1] to uint8 pixels."""
    return images.float().clamp(0, 1).mul(255).round().to(torch.uint8)
