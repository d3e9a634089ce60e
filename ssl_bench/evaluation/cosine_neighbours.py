"""Nearest neighbours by cosine similarity of a few queries, in one process."""

import torch
from torch import Tensor

from ssl_bench.evaluation.features import FeatureSplit
from ssl_bench.evaluation.points import Points
from ssl_bench.evaluation.rows import Rows

CHUNK = 1024
"""Number of bank rows that are compared with all queries at a time."""


def nearest_by_cosine(queries: Tensor, bank: FeatureSplit, k: int, device: torch.device) -> Tensor:
    """Rows of the bank with the highest cosine similarity to each query, computed in this process alone.

    Args:
        queries: features ``(n, d)``.
        bank: split with features ``(N, d)``.
        k: number of neighbours; fewer are returned if the bank is smaller.
        device: device of the computation.

    Returns:
        Row indices, int64 ``(n, k)``, on the CPU, nearest first.
    """
    every = Rows.of(bank, device).exact()
    points = Points.of((every,), spherical=True)
    q = points(queries.to(device), torch.float32)
    best = torch.empty(len(q), 0, device=device)
    index = torch.empty(len(q), 0, dtype=torch.int64, device=device)
    for start in range(0, len(every), CHUNK):
        x = points(every.take(slice(start, start + CHUNK)), torch.float32)
        similarity = torch.addmm(x.square().sum(1) / -2, q, x.T)
        rows = torch.arange(start, start + similarity.shape[1], device=device).expand(len(q), -1)
        both, rows = torch.cat([best, similarity], 1), torch.cat([index, rows], 1)
        best, chosen = both.topk(min(k, both.shape[1]))
        index = rows.gather(1, chosen)
    return index.cpu()
