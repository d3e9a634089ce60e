"""First-in-first-out queue of the features of earlier batches."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_bench.errors import UserError
from ssl_bench.ranges import PositiveInt, check_ranges


@check_ranges
class FeatureQueue(nn.Module):
    """Queue of the latest `size` rows of several aligned features, in float32.

    The queue is initialised with random unit vectors, as in the structural GAN's released code and in MoCo (He et al.
    2020). Content and position are buffers: they are saved in checkpoints and move with the method's device. The caller
    gathers the rows of all ranks before `enqueue`; every rank then has the same queue, and buffers are not broadcast.

    Args:
        size: number of rows.
        **dims: length of each feature by name, for example ``FeatureQueue(10240, keys=512, values=128)``.
    """

    position: Tensor

    def __init__(self, size: PositiveInt, **dims: int):
        super().__init__()
        self.size, self.names = size, tuple(dims)
        for name, dim in dims.items():
            self.register_buffer(name, F.normalize(torch.randn(size, dim), dim=1))
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))

    def __getitem__(self, name: str) -> Tensor:
        """The rows ``(size, dim)`` of one feature; rows of all features are aligned."""
        return self.get_buffer(name)

    def check_fits(self, rows: int, processes: int, method: str) -> None:
        """Refuse a batch that is larger than the queue; a method calls it before training.

        Args:
            rows: number of rows that each process enqueues at a time.
            processes: number of processes.
            method: name of the method for the message; the setting is its ``queue_size``.

        Raises:
            UserError: the rows of all processes are more than the queue holds.
        """
        batch = rows * processes
        if batch > self.size:
            where = "1 process" if processes == 1 else f"{processes} processes"
            raise UserError(
                f"{method}: a queue of {self.size} is shorter than the batch of {batch} images in {where}: "
                f"give --method.queue_size {batch} or more, or a smaller --data.batch_size"
            )

    @torch.no_grad()
    def enqueue(self, **rows: Tensor) -> None:
        """Replace the oldest n rows by new rows ``(n, dim)`` of each feature; n is at most `size`.

        The update is in place: a loss that depends on rows of the queue must be back-propagated before it.

        Raises:
            UserError: n is larger than the queue.
            TypeError: the names of the features are not those of the queue.
        """
        if rows.keys() != set(self.names):
            raise TypeError(f"the queue holds {', '.join(self.names)}, not {', '.join(rows)}")
        n = len(next(iter(rows.values())))
        if n > self.size:
            raise UserError(
                f"a queue of {self.size} features is shorter than the batch of {n} that enters it; "
                f"give a queue of {n} or more, or smaller batches"
            )
        # The position stays on the device: reading it would synchronise with the GPU in every step.
        places = (self.position + torch.arange(n, device=self.position.device)) % self.size
        for name, new in rows.items():
            self[name].index_copy_(0, places, new.to(self[name].dtype))
        self.position.add_(n).remainder_(self.size)
