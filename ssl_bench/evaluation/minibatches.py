"""Random minibatches from the rows of several splits."""

from collections.abc import Iterator, Sequence

import torch
from torch import Generator, Tensor

from ssl_bench.evaluation.rows import Rows


def minibatches(parts: Sequence[Rows], size: int, generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch: all rows of the parts, shuffled together, in minibatches.

    Args:
        parts: splits with labels of the same targets.
        size: rows per minibatch; the last may be smaller.
        generator: random generator of the order, on the CPU so that the order is the same on every device.

    Yields:
        Features ``(B, d)`` and labels ``(B, T)``; rows of the first part come first.
    """
    order = torch.randperm(sum(map(len, parts)), generator=generator)
    for batch in order.split(size):
        x, y = [], []
        start = 0
        for part in parts:
            rows = batch[(start <= batch) & (batch < start + len(part))] - start
            x.append(part.take(rows))
            y.append(part.y[rows.to(part.device)])
            start += len(part)
        yield torch.cat(x), torch.cat(y)
