"""Cross-entropy of labels, of which some may be missing."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_bench.distributed import all_reduce_sum, world_size


def cross_entropy(logits: Sequence[Tensor], labels: Tensor) -> Tensor:
    """Mean cross-entropy over all labels of the images of all processes; zero if none of them has a label.

    Each process divides the sum over its own labels by the mean number of labels per process. The mean of the
    processes' gradients then equals the gradient of one process with all images, also if the processes have different
    numbers of labels.

    Args:
        logits: for each of T targets ``(N, number of classes)``.
        labels: int64 ``(N, T)``; -1 for no label, which is left out.
    """
    count = all_reduce_sum((labels >= 0).sum()) / world_size()
    sums = [F.cross_entropy(x, y, ignore_index=-1, reduction="sum") for x, y in zip(logits, labels.T, strict=True)]
    return torch.stack(sums).sum() / count.clamp(min=1 / world_size())
