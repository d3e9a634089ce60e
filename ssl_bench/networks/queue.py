"""First-in-first-out memory of features of earlier batches."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_bench.errors import UserError


class FeatureQueue(nn.Module):
    """The newest ``size`` rows of several features that belong together, in float32.

    Starts full of random unit vectors, as the structural GAN's release does (MoCo, He et al. 2020, too). Content and
    position are buffers: they are in checkpoints and move with the method. Rows of several ranks are gathered before
    they enter, so that every rank holds the same queue; then its buffers need no broadcasting.

    Args:
        size: rows held.
        **dims: name and length of each feature of a row, as in ``FeatureQueue(10240, keys=512, values=128)``.
    """

    position: Tensor

    def __init__(self, size: int, **dims: int):
        super().__init__()
        self.size, self.names = size, tuple(dims)
        for name, dim in dims.items():
            self.register_buffer(name, F.normalize(torch.randn(size, dim), dim=1))
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))

    def __getitem__(self, name: str) -> Tensor:
        """The rows ``(size, dim)`` of one feature; row i of one feature belongs to row i of every other."""
        return self.get_buffer(name)

    @torch.no_grad()
    def enqueue(self, **rows: Tensor) -> None:
        """Replace the oldest rows by new ones, ``(n, dim)`` of each feature, n the same for all and at most `size`.

        Written in place: rows that a loss took without copying must have been back-propagated before.

        Raises:
            UserError: n is larger than the queue.
            TypeError: the features given are not those of the queue.
        """
        if rows.keys() != set(self.names):
            raise TypeError(f"the queue holds {', '.join(self.names)}, not {', '.join(rows)}")
        n = len(next(iter(rows.values())))
        if n > self.size:
            raise UserError(
                f"a queue of {self.size} features is shorter than the batch of {n} that enters it; "
                f"give a queue of {n} or more, or smaller batches"
            )
        # The position stays on the device: reading it here would make every step wait for the GPU.
        places = (self.position + torch.arange(n, device=self.position.device)) % self.size
        for name, new in rows.items():
            self[name].index_copy_(0, places, new.to(self[name].dtype))
        self.position.add_(n).remainder_(self.size)
