"""Rows of features in fixed blocks, so that metrics are the same on any number of processes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ssl_bench.distributed import gather_rows, share, world_size
from ssl_bench.evaluation.features import FeatureSplit

BLOCKS, MIN_ROWS, MAX_ROWS = 64, 1024, 8192
"""A split is divided into about 64 blocks of 1,024 to 8,192 rows, whatever the number of processes."""


@dataclass(frozen=True)
class Rows:
    """Features and labels of one split, processed one block at a time.

    Every process can read all rows. The blocks depend only on the number of rows, and each block is processed by one
    process. An all-reduced float64 sum over blocks is therefore the same on any number of processes, up to the last
    bits. Only one block needs to be in memory.

    Attributes:
        features: numbers of any type ``(M, d)``, in memory, memory-mapped from a file, or on the evaluation device.
        y: labels of T targets, int64 ``(N, T)``, on the device.
        device: device on which blocks are processed.
        index: rows of `features` to use, int64 ``(N,)``; None for all rows in order.
        dtype: type of the features that protocols get.
    """

    features: Tensor
    y: Tensor
    device: torch.device
    index: Tensor | None = None
    dtype: torch.dtype = torch.float32

    @classmethod
    def of(cls, split: FeatureSplit, device: torch.device) -> "Rows":
        """All rows of a split with their labels, -1 included."""
        return cls(split.features, split.labels.reshape(len(split.labels), -1).to(device), device, split.rows)

    def __len__(self) -> int:
        return len(self.y)

    @property
    def dim(self) -> int:
        """Number of features per row, d."""
        return self.features.shape[1]

    def take(self, rows: Tensor | slice) -> Tensor:
        """Features of the given rows ``(n, d)`` in `dtype`, on the device."""
        if self.index is not None:
            rows = self.index[rows.to(self.index.device) if isinstance(rows, Tensor) else rows]
        if isinstance(rows, slice):
            found = self.features[rows]
        else:
            found = self.features.index_select(0, rows.to(self.features.device))
        return found.to(self.device, non_blocking=True).to(self.dtype)

    def exact(self) -> "Rows":
        """The same rows with features in float64 if float32 would round them."""
        fits = self.features.dtype in (torch.float32, torch.float16, torch.bfloat16)
        return replace(self, dtype=torch.float32 if fits else torch.float64)

    def select(self, rows: Tensor) -> "Rows":
        """The given rows, int64 ``(n,)`` on the CPU, as rows of the same features."""
        index = rows.to(self.features.device) if self.index is None else self.index[rows.to(self.index.device)]
        return replace(self, y=self.y[rows.to(self.y.device)], index=index)

    def slices(self) -> list[slice]:
        """All blocks in order."""
        size = min(max(-(-len(self) // BLOCKS), MIN_ROWS), MAX_ROWS)
        return [slice(start, min(start + size, len(self))) for start in range(0, len(self), size)]

    def local_slices(self) -> list[slice]:
        """This process's blocks: contiguous, in rank order."""
        slices = self.slices()
        return [slices[i] for i in share(len(slices))]

    def blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Features ``(n, d)`` and labels ``(n, T)`` of this process's blocks. They must not be modified in place."""
        for rows in self.local_slices():
            yield self.take(rows), self.y[rows]

    def mapped(self, function: Callable[[Tensor], Tensor], dim: int, dtype: torch.dtype) -> "Rows":
        """The same rows with other features, computed once and kept in memory.

        Args:
            function: function of features ``(n, d)`` that returns the new features ``(n, dim)``.
            dim: number of new features.
            dtype: type of the new features.
        """
        return replace(self, features=self.map(function, dim, dtype=dtype), index=None, dtype=dtype)

    def map(
        self,
        function: Callable[[Tensor], Tensor],
        *shape: int,
        dtype: torch.dtype = torch.int64,
        out: Tensor | None = None,
    ) -> Tensor:
        """Apply a function to the features of every block and gather the results in every process.

        Args:
            function: function of features ``(n, d)`` that returns results ``(n, *shape)``.
            *shape: shape of one row's result.
            dtype: type of the results.
            out: tensor ``(N, *shape)`` to write the results to, in calls that are repeated; by default a new one.

        Returns:
            Results of all rows ``(N, *shape)``.
        """
        result = torch.empty(len(self), *shape, dtype=dtype, device=self.device) if out is None else out
        slices = self.local_slices()
        for rows in slices:
            result[rows] = function(self.take(rows))
        if world_size() > 1:
            result.copy_(gather_rows(result[slices[0].start : slices[-1].stop] if slices else result[:0]))
        return result
