"""Frechet distance (FID), kernel distance (KID) and inception score, computed from features and logits of images."""

from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.distributions.utils import clamp_probs

from ssl_bench.distributed import all_reduce_sum, gather_rows, share


class Statistics(NamedTuple):
    """Mean and covariance of a set of features, float64, the same in every process.

    Attributes:
        number: number of features, N.
        mean: mean ``(d,)``.
        covariance: unbiased covariance ``(d, d)``, with divisor N - 1.
    """

    number: int
    mean: Tensor
    covariance: Tensor


class Sums:
    """Sums for mean and covariance, accumulated block by block in each process.

    Args:
        dim: number of features per image.
        device: device of the features.
    """

    def __init__(self, dim: int, device: torch.device) -> None:
        self.count = torch.zeros((), dtype=torch.float64, device=device)
        self.total = torch.zeros(dim, dtype=torch.float64, device=device)
        self.square = torch.zeros(dim, dim, dtype=torch.float64, device=device)

    def add(self, features: Tensor) -> None:
        """Add features ``(n, d)``."""
        x = features.double()
        self.count += len(x)
        self.total += x.sum(0)
        self.square.addmm_(x.T, x)

    def statistics(self) -> Statistics:
        """Statistics of the features of all processes, at least two."""
        count, total, square = map(all_reduce_sum, (self.count, self.total, self.square))
        mean = total / count
        return Statistics(int(count), mean, (square - count * torch.outer(mean, mean)) / (count - 1))


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """Squared Frechet distance of two Gaussians, ``|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2))``.

    With features of InceptionV3 this is FID (Heusel et al. 2017, arXiv 1706.08500, Eq. 6).
    """
    root = _trace_of_root(a.covariance, b.covariance)
    return float((a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * root)


def _trace_of_root(a: Tensor, b: Tensor) -> Tensor:
    """``tr (A B)^(1/2)`` of two covariances.

    With A = R R' and B = S S', A B has the same eigenvalues as the symmetric matrix R' B R. These are the squared
    singular values of R' S. Eigenvalues are twice as fast to compute as singular values. If some eigenvalues are zero,
    as with fewer images than dimensions, the square roots of their rounding errors would add up; then singular values
    are used.
    """
    (lower, failed_a), (_, failed_b) = torch.linalg.cholesky_ex(a), torch.linalg.cholesky_ex(b)
    if not (failed_a or failed_b):
        roots: Tensor = torch.linalg.eigvalsh(lower.T @ b @ lower).clamp_min(0).sqrt()
    else:
        roots = torch.linalg.svdvals(_root(a).T @ _root(b))
    return roots.sum()


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = vectors * values.clamp_min(0).sqrt()
    return root


def kernel_distance(
    a: Tensor, b: Tensor, *, subsets: int = 100, size: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Unbiased squared maximum mean discrepancy under the kernel ``(x.y / d + 1)^3``.

    With features of InceptionV3 this is KID (Binkowski et al. 2018, arXiv 1801.01401, section 3 and Eq. 4).

    Args:
        a: features ``(N, d)``, the same in every process.
        b: features ``(M, d)``, the same in every process.
        subsets: number of random subsets of a and b that are compared; they are distributed among the processes.
        size: number of features per subset, chosen without replacement; all features if a or b has fewer.
        seed: seed of the subsets.

    Returns:
        Mean and standard deviation over subsets. The mean is unbiased and may be negative.
    """
    generator = Generator().manual_seed(seed)
    size = min(size, len(a), len(b))
    chosen = [[torch.randperm(len(x), generator=generator)[:size] for x in (a, b)] for _ in range(subsets)]
    distances = torch.zeros(len(share(subsets)), dtype=torch.float64, device=a.device)
    for i, subset in enumerate(share(subsets)):
        x, y = (side[rows.to(side.device)].float() for side, rows in zip((a, b), chosen[subset], strict=True))
        xx, yy, xy = (_kernel(*pair) for pair in ((x, x), (y, y), (x, y)))
        alike = xx.sum(dtype=torch.float64) - xx.trace() + yy.sum(dtype=torch.float64) - yy.trace()
        distances[i] = alike / (size * (size - 1)) - 2 * xy.mean(dtype=torch.float64)
    distances = gather_rows(distances)
    return float(distances.mean()), float(distances.std(correction=0))


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def inception_score(logits: Tensor, splits: int = 10) -> tuple[float, float]:
    """Inception score ``exp E KL(p(y|x) || p(y))`` (Salimans et al. 2016, arXiv 1606.03498, section 4).

    Args:
        logits: ``(N, C)``, logits of a classifier for N >= splits samples, in the order of sampling.
        splits: number of consecutive parts, each scored separately.

    Returns:
        Mean and standard deviation over parts. Scores range from 1 (no diversity) to C.
    """
    scores = []
    for part in logits.double().tensor_split(splits):
        conditional = part.log_softmax(1)
        marginal = clamp_probs(conditional.exp().mean(0)).log()
        scores.append((conditional.exp() * (conditional - marginal)).sum(1).mean().exp())
    every = torch.stack(scores)
    return float(every.mean()), float(every.std(correction=0))
