"""The terms of "Structural Adversarial Objectives for Self-Supervised Representation Learning" (arXiv 2310.00357).

Embeddings are e ``(N, p)`` and, on the unit sphere, z = e / ||e||. Everything is computed in float32, or in what it is
given above it, autocast or not. None touches another rank: what is given is the batch, so a caller who wants the
global one gathers it first.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_bench.errors import UserError

Covariance = Literal["full", "diagonal"]


class LogDeterminants(NamedTuple):
    """Log determinants of the covariances that a distance is made of; one that is not finite spoils it."""

    real: Tensor
    fake: Tensor
    pooled: Tensor

    def spread(self) -> Tensor:
        """0.5 * log( det pooled / sqrt(det real * det fake) )."""
        return 0.5 * (self.pooled - 0.5 * (self.real + self.fake))


def jensen_shannon(
    real: Tensor, fake: Tensor, covariance: Covariance = "full", ridge: float = 0.5
) -> tuple[Tensor, LogDeterminants]:
    """Jensen-Shannon divergence of two batches, each and their mixture taken as Gaussians (Eq. 3 and 4), in nats.

    H(mixture) - (H(real) + H(fake)) / 2 = 0.5 * log( det S / sqrt(det S_real * det S_fake) ), with S that of both
    batches together about their own mean; the paper's Eq. 3 and 4 have this factor wrong and not at all. Its Section 3
    promises diagonal covariances; the released code has full ones, taken about the mean put back on the unit sphere,
    so ``full`` is that. ``diagonal`` is Eq. 4, about the plain mean. Both add ridge / p to the variances, which for
    ``full`` is the released logdet(I + p / ridge * S) but for a constant that cancels.

    Args:
        real: z ``(N, p)`` of images.
        fake: z ``(M, p)`` of generated images.
        covariance: what of the covariance is kept.
        ridge: >= 0; 0 is Eq. 4 as printed, and infinite for ``full`` with N <= p.

    Returns:
        The divergence, a scalar (NaN or infinite if a covariance is), and the log determinants that it came from.
    """
    with torch.autocast(real.device.type, enabled=False):
        batches = precise(real), precise(fake), precise(torch.cat([real, fake]))
        logs = LogDeterminants(
            *(log_determinant(scatter(z, centre(z, covariance), covariance, ridge)) for z in batches)
        )
        return logs.spread(), logs


def bhattacharyya(
    real: Tensor, fake: Tensor, covariance: Covariance = "full", ridge: float = 0.5
) -> tuple[Tensor, LogDeterminants]:
    """Bhattacharyya distance of two batches taken as Gaussians (Eq. 5).

    1/8 (m_real - m_fake)^T S^-1 (m_real - m_fake) + 0.5 * log( det S / sqrt(det S_real * det S_fake) ), with S the mean
    of the two covariances; these are about the plain means, with ridge / p added to the variances.

    Args and returns are those of `jensen_shannon`; pooled is S.
    """
    with torch.autocast(real.device.type, enabled=False):
        real, fake = precise(real), precise(fake)
        first, second = (scatter(z, z.mean(0), covariance, ridge) for z in (real, fake))
        pooled, gap = (first + second) / 2, real.mean(0) - fake.mean(0)
        solved = gap / pooled if covariance == "diagonal" else torch.linalg.solve_ex(pooled, gap)[0]
        logs = LogDeterminants(*map(log_determinant, (first, second, pooled)))
        return (gap * solved).sum() / 8 + logs.spread(), logs


def centre(z: Tensor, covariance: Covariance) -> Tensor:
    """What `jensen_shannon` takes the second moments about, ``(p,)``."""
    return F.normalize(z.mean(0), dim=0) if covariance == "full" else z.mean(0)


def scatter(z: Tensor, about: Tensor, covariance: Covariance, ridge: float) -> Tensor:
    """Second moments of z ``(N, p)`` about a point ``(p,)`` plus ridge / p: ``(p, p)``, or the diagonal ``(p,)``."""
    deviation, (count, dim) = z - about, z.shape
    if covariance == "diagonal":
        return deviation.square().mean(0) + ridge / dim
    return deviation.T @ deviation / count + ridge / dim * torch.eye(dim, dtype=z.dtype, device=z.device)


def log_determinant(covariance: Tensor) -> Tensor:
    """Log determinant of ``(p, p)``, or of a diagonal ``(p,)``; not finite, and no error, if that is not positive."""
    if covariance.ndim == 1:
        return covariance.log().sum()
    factor, failed = torch.linalg.cholesky_ex(covariance)
    return torch.where(failed == 0, 2 * factor.diagonal().log().sum(), torch.nan)


@torch.no_grad()
def neighbour_indices(
    queries: Tensor, keys: Tensor, k: int, exclude: Tensor | None = None, skip_first: bool = False
) -> Tensor:
    """The k keys of greatest cosine similarity to each query, most similar first; carries no gradient.

    Args:
        queries: features ``(N, d)``, of any length.
        keys: features ``(M, d)``, of any length.
        k: neighbours of each query.
        exclude: int64 ``(N,)``, a key that each query may not have: itself.
        skip_first: leave out the most similar key as well. The released code drops the first hit of every query, which
            is the image itself for a real one, but the true nearest neighbour for a generated one.

    Returns:
        int64 ``(N, k)`` indices of keys.

    Raises:
        UserError: if there are too few keys.
    """
    needed = k + (exclude is not None) + skip_first
    if len(keys) < needed:
        raise UserError(
            f"{k} nearest neighbours were asked for among {len(keys)} features, {needed} are needed: "
            "ask for fewer neighbours, or take a larger batch or a longer queue"
        )
    with torch.autocast(queries.device.type, enabled=False):
        similarity = F.normalize(precise(queries), dim=1) @ F.normalize(precise(keys), dim=1).T
    if exclude is not None:
        similarity.scatter_(1, exclude.unsqueeze(1), -torch.inf)
    return similarity.topk(k + skip_first, dim=1).indices[:, int(skip_first) :]


def neighbour_similarity(z: Tensor, values: Tensor, index: Tensor) -> Tensor:
    """Mean of z_i . values_j over all i and its K neighbours j; gradients flow to both.

    A term of Eq. 6, whose second sum over neighbours lacks the 1/K that the first has and the released code has.

    Args:
        z: ``(N, p)``.
        values: ``(M, p)``.
        index: int64 ``(N, K)`` into values, as from `nearest`.

    Returns:
        A scalar, in [-1, 1] on the unit sphere.
    """
    return (precise(z) * precise(values)[index].mean(1)).sum(1).mean()


def norm_hinge(e: Tensor, side: Literal["below", "above"] = "below") -> Tensor:
    """What embeddings ``(N, p)`` pay, on average, for norms on one side of 1.

    ``below``: max(1 - ||e||, 0)^2, as released. ``above``: max(||e|| - 1, 0), the paper's Eq. 7. The Jacobian's norm is
    held down by shrinking e, and the gradient of z = e / ||e|| grows as 1 / ||e||: there only ``below`` keeps e from
    collapsing. Where the Jacobian's target is far above its value the pull is the other way, and ``above`` bounds e.
    """
    norm = torch.linalg.vector_norm(precise(e), dim=1)
    return F.relu(1 - norm).square().mean() if side == "below" else F.relu(norm - 1).mean()


def precise(x: Tensor) -> Tensor:
    """The same in float32, or as it is if that is wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
