"""Rows of features in blocks: what keeps every figure the same on one process and on many."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ssl_bench.distributed import gather_rows, share

BLOCKS, SMALLEST, LARGEST = 64, 1024, 8192
"""A split is cut into about 64 blocks, of 1,024 to 8,192 rows, however many processes there are."""


@dataclass(frozen=True)
class Rows:
    """One split's features and labels, whole in every process, and computed on a block at a time.

    Blocks depend on the number of rows alone, and each is computed on by one process. A sum over blocks that is
    kept in float64 and then all-reduced therefore comes out the same, but for float64's last bits, on any number
    of processes; nothing larger than a block need be in memory.

    Attributes:
        features: float32 ``(M, d)``, in memory, mapped from a file, or on the evaluation device.
        y: int64 ``(N, T)`` on the device, the labels of T targets; every row has all of them.
        device: where blocks are computed on.
        index: int64 ``(N,)``, the rows of `features` that are meant; None for all, in their order.
    """

    features: Tensor
    y: Tensor
    device: torch.device
    index: Tensor | None = None

    def __len__(self) -> int:
        return len(self.y)

    @property
    def dim(self) -> int:
        """Length of a feature."""
        return self.features.shape[1]

    def take(self, rows: Tensor | slice) -> Tensor:
        """Features ``(n, d)`` of some rows, on the device."""
        if self.index is not None:
            rows = self.index[rows.to(self.index.device) if isinstance(rows, Tensor) else rows]
        elif isinstance(rows, slice):
            return self.features[rows].to(self.device, non_blocking=True)
        rows = rows.to(self.features.device)
        return self.features.index_select(0, rows).to(self.device, non_blocking=True)

    def slices(self) -> list[slice]:
        """All blocks, in order."""
        size = min(max(-(-len(self) // BLOCKS), SMALLEST), LARGEST)
        return [slice(start, min(start + size, len(self))) for start in range(0, len(self), size)]

    def mine(self) -> list[slice]:
        """This process's blocks: contiguous, the ranks' parts in rank order."""
        slices = self.slices()
        return [slices[i] for i in share(len(slices))]

    def blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Features ``(n, d)`` and labels ``(n, T)`` of each of this process's blocks. Not to be written to."""
        for rows in self.mine():
            yield self.take(rows), self.y[rows]

    def map(self, function: Callable[[Tensor], Tensor], *like: int, dtype: torch.dtype = torch.int64) -> Tensor:
        """``function`` of every block's features, gathered: ``(N, *like)`` of `dtype`, whole in every process."""
        empty = torch.empty(0, *like, dtype=dtype, device=self.device)
        return gather_rows(torch.cat([empty, *(function(x) for x, _ in self.blocks())]))
