"""The training sampler: batches of indices, shuffled in every epoch and divided among processes."""

import random
from collections.abc import Iterator, Sized
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler

from ssl_bench.errors import UserError
from ssl_bench.ranges import NonNegativeInt, PositiveInt, check_ranges


@check_ranges
class BatchSampler(DistributedSampler[Tensor]):
    """Sampler that yields tensors of indices, so that a batch is gathered without Python code per image.

    The order of an epoch depends only on ``seed`` and the epoch. Step k of W processes with batches of B has the same
    images as step k of one process with batches of W * B. The r images that remain after the last full step are
    dropped, or make a smaller last step, in which every process has floor(r / W) images. They are also dropped if this
    is fewer than 2 images, because BatchNorm refuses a single one. The base class is ``DistributedSampler`` because
    Lightning then calls ``set_epoch`` and does not wrap the sampler in another one.

    Args:
        dataset: the data set; only its length is used.
        batch_size: number of images per step and process.
        seed: seed of the orders of all epochs.
        device: device of the index tensors; the order itself is sampled on the CPU and does not depend on it.
        num_replicas: number of processes; by default the world size of ``torch.distributed``, else 1.
        rank: index of this process, in [0, num_replicas).
        subset: indices to sample from, int64 ``(n,)`` on the CPU; by default all.
        drop_last: whether the images after the last full step are dropped.

    Attributes:
        size: number of images to sample from.
        last: number of images of the smaller last step and process; 0 without such a step.
        images: number of images of an epoch, over all processes.

    Raises:
        UserError: a batch of all processes is larger than the data set.
    """

    def __init__(
        self,
        dataset: Sized,
        batch_size: PositiveInt,
        seed: int = 0,
        device: torch.device | None = None,
        num_replicas: PositiveInt | None = None,
        rank: NonNegativeInt | None = None,
        subset: Tensor | None = None,
        drop_last: bool = True,
    ) -> None:
        running = dist.is_available() and dist.is_initialized()
        world = num_replicas or (dist.get_world_size() if running else 1)
        rank = rank if rank is not None else (dist.get_rank() if running else 0)
        super().__init__(cast("Dataset[Tensor]", dataset), world, rank, seed=seed)
        self.subset = subset
        self.size = len(dataset) if subset is None else len(subset)
        if self.size < world * batch_size:
            given = f"--data.batch_size {batch_size}" + (f" x {world} processes" if world > 1 else "")
            fits = self.size // world
            several = "es" * (self.size > 1)
            less = f"give --data.batch_size {fits} or less" if fits else f"use {self.size} process{several} or fewer"
            raise UserError(f"{given} is more than the {self.size} training images: {less}")
        self.batch_size = batch_size
        self.steps, rest = divmod(self.size, world * batch_size)
        self.last = 0 if drop_last or rest < 2 * world else rest // world
        self.images = world * (self.steps * batch_size + self.last)
        self.device = device
        self.start = 0
        """Number of batches that the next iteration skips; they still count in the length."""

    def __len__(self) -> int:
        """Number of steps of an epoch, the same in every process."""
        return self.steps + (self.last > 0)

    def __iter__(self) -> Iterator[Tensor]:
        """Yield int64 tensors ``(batch_size,)``, ``len(self)`` unless `start` is set; the last may be smaller."""
        # Not seed + epoch: consecutive seeds would then share the orders of all epochs but one.
        mixed = random.Random(f"{self.seed},{self.epoch}").getrandbits(32)
        order = torch.randperm(self.size, generator=torch.Generator().manual_seed(mixed))
        order = order if self.subset is None else self.subset[order]
        full, rest = order.tensor_split([self.steps * self.num_replicas * self.batch_size])
        part = full.view(self.steps, self.num_replicas, self.batch_size)[:, self.rank]
        yield from part[self.start :].to(self.device).unbind()
        if self.last:
            yield rest[self.rank * self.last : (self.rank + 1) * self.last].to(self.device)
