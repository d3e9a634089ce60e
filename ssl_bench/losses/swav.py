"""SwAV: assignments of images to prototypes, and the loss of predicting the assignment of another view."""

import torch
from torch import Tensor

from ssl_bench.distributed import gather, rank
from ssl_bench.ranges import PositiveFloat, PositiveInt, check_ranges


@check_ranges
def sinkhorn(scores: Tensor, epsilon: PositiveFloat = 0.05, iterations: PositiveInt = 3) -> Tensor:
    """Codes Q = Diag(u) exp(C^T Z / epsilon) Diag(v) (Caron et al. 2020, arXiv 2006.09882, Eq. 5), without gradient.

    The Sinkhorn-Knopp iteration alternately gives all prototypes the same total and all images the total 1. The last
    step is that of the images. It is computed in the log domain, so that no sum underflows for a small epsilon. There
    is no communication between processes, see `codes`.

    Args:
        scores: similarities of images and prototypes, Z^T C, ``(B, K)``.
        epsilon: weight of the entropy; a smaller one gives codes that are nearer to one prototype.
        iterations: number of iterations.

    Returns:
        ``(B, K)``; every row sums to 1, and every column to about B / K.
    """
    log_q = scores.detach() / epsilon
    for _ in range(iterations):
        log_q = log_q.log_softmax(0)  # total 1 instead of B / K: the factor cancels in the next line
        log_q = log_q.log_softmax(1)
    return log_q.exp()


def codes(
    scores: Tensor, queued: Tensor | None = None, epsilon: PositiveFloat = 0.05, iterations: PositiveInt = 3
) -> Tensor:
    """Codes ``(N, K)`` of this process's images; prototypes are shared by the images of all processes and the queue.

    Every process must have the same number of images.

    Args:
        scores: similarities of this process's images and the prototypes, ``(N, K)``.
        queued: the same of the projections in a queue, ``(L, K)``, the same in every process.
        epsilon: see `sinkhorn`.
        iterations: see `sinkhorn`.
    """
    n, everyone = len(scores), gather(scores.detach())
    q = sinkhorn(everyone if queued is None else torch.cat([everyone, queued]), epsilon, iterations)
    return q[n * rank() : n * (rank() + 1)]


@check_ranges
def swapped_prediction(scores: Tensor, q: Tensor, temperature: PositiveFloat = 0.1) -> Tensor:
    """Cross-entropy of the code of a view and the prediction of every other view (Eq. 1 and 2); a mean.

    It is averaged over codes, the other views and this process's images. With two views it is half of Eq. 1, as in the
    released code. There is no communication between processes.

    Args:
        scores: similarities of the views and the prototypes, ``(V, N, K)``.
        q: codes of the first C views, ``(C, N, K)``, C <= V.
        temperature: divisor of the similarities.
    """
    log_p = (scores / temperature).log_softmax(2)
    pairs = [(t, s) for s in range(len(q)) for t in range(len(scores)) if t != s]
    return -torch.stack([(q[s] * log_p[t]).sum(1).mean() for t, s in pairs]).mean()
