"""The training sampler: whole batches of indices, shuffled anew each epoch, one shard for each process."""

import random
from collections.abc import Iterator, Sized

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DistributedSampler

from ssl_bench.errors import UserError


class BatchSampler(DistributedSampler[Tensor]):
    """Yields index tensors, so that a batch is one gather and no per-image Python.

    The order of an epoch depends on ``seed`` and the epoch alone. Step k of W processes with batches of B sees
    the same images as step k of one process with batches of W * B. The last incomplete global batch is dropped,
    unless it is the only one. (A ``DistributedSampler``, so that Lightning calls ``set_epoch`` on it and does
    not wrap it in another one.)

    Args:
        dataset: What to sample from; only its length is used.
        batch_size: Images of one step in one process, > 0.
        seed: Fixes the orders of all epochs.
        device: Where the index tensors live; the order itself is drawn on the CPU and is the same everywhere.
        num_replicas: Processes; those of ``torch.distributed`` by default, else 1.
        rank: This process, in [0, num_replicas).
        among: Indices to sample from, int64 ``(n,)`` on the CPU; all by default.

    Raises:
        UserError: ``dataset`` has fewer images than there are processes.
    """

    def __init__(
        self,
        dataset: Sized,
        batch_size: int,
        seed: int = 0,
        device: torch.device | None = None,
        num_replicas: int | None = None,
        rank: int | None = None,
        among: Tensor | None = None,
    ) -> None:
        running = dist.is_available() and dist.is_initialized()
        world = num_replicas or (dist.get_world_size() if running else 1)
        rank = rank if rank is not None else (dist.get_rank() if running else 0)
        super().__init__(dataset, world, rank, seed=seed)  # type: ignore[arg-type]
        if batch_size < 1:
            raise UserError(f"batch_size is {batch_size}, expected 1 or more: set --data.batch_size")
        self.among = among
        self.size = len(dataset) if among is None else len(among)
        if self.size < world:
            raise UserError(f"{self.size} training images for {world} processes: use more images or fewer")
        self.batch_size = min(batch_size, self.size // world)
        self.steps = self.size // (world * self.batch_size)
        self.device = device

    def __len__(self) -> int:
        """Steps of an epoch, the same in every process."""
        return self.steps

    def __iter__(self) -> Iterator[Tensor]:
        """Yields ``len(self)`` int64 tensors ``(batch_size,)``."""
        # Not seed + epoch: neighbouring seeds would then share all but one of their epochs' orders.
        mixed = random.Random(f"{self.seed},{self.epoch}").getrandbits(32)
        order = torch.randperm(self.size, generator=torch.Generator().manual_seed(mixed))
        order = order[: self.steps * self.num_replicas * self.batch_size]
        order = order if self.among is None else self.among[order]
        shard = order.view(self.steps, self.num_replicas, self.batch_size)[:, self.rank]
        yield from shard.to(self.device).unbind()
