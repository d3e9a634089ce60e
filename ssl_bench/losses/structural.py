"""The terms of "Structural Adversarial Objectives for Self-Supervised Representation Learning" (arXiv 2310.00357).

Embeddings are e ``(N, p)`` and, on the unit sphere, z = e / ||e||. Everything is computed in at least float32, even
under autocast. There is no communication between ranks: for the terms of the global batch, gather it first.
`ssl_bench.methods.structural_gan` adds the terms up (Eq. 8).
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_bench.errors import UserError
from ssl_bench.ranges import NonNegativeFloat, PositiveInt, check_ranges

Covariance = Literal["full", "diagonal"]


class LogDeterminants(NamedTuple):
    """Log determinants of the covariances in a distance; if one is not finite, the distance is not."""

    real: Tensor
    fake: Tensor
    pooled: Tensor

    def spread(self) -> Tensor:
        """0.5 * log( det pooled / sqrt(det real * det fake) )."""
        return 0.5 * (self.pooled - 0.5 * (self.real + self.fake))


@check_ranges
def jensen_shannon(
    real: Tensor, fake: Tensor, covariance: Covariance = "full", ridge: NonNegativeFloat = 0.5
) -> tuple[Tensor, LogDeterminants]:
    """Jensen-Shannon divergence of two batches; each batch, and their mixture, is modelled as a Gaussian (Eq. 3 and 4).

    H(mixture) - (H(real) + H(fake)) / 2 = 0.5 * log( det S / sqrt(det S_real * det S_fake) ) nats, where S_real, S_fake
    and S are the covariances of the real, the generated and the concatenated batch. The factor 0.5 is wrong in the
    paper's Eq. 3 and missing in Eq. 4. ridge / p is added to the variances. For ``full`` this differs from the released
    code's logdet(I + p / ridge * S) by a constant that cancels in the divergence.

    Args:
        real: z ``(N, p)`` of images.
        fake: z ``(M, p)`` of generated images.
        covariance: ``full`` for full covariances about the mean normalised to the unit sphere, as in the released code;
            ``diagonal`` for variances about the mean, as in Section 3 and Eq. 4.
        ridge: 0 gives the paper's equation. The divergence is then not finite with ``full`` and N <= p.

    Returns:
        The divergence, a scalar (NaN or infinite if a log determinant is), and the log determinants.
    """
    with torch.autocast(real.device.type, enabled=False):
        batches = precise(real), precise(fake), precise(torch.cat([real, fake]))
        logs = LogDeterminants(
            *(log_determinant(scatter(z, centre(z, covariance), covariance, ridge)) for z in batches)
        )
        return logs.spread(), logs


@check_ranges
def bhattacharyya(
    real: Tensor, fake: Tensor, covariance: Covariance = "full", ridge: NonNegativeFloat = 0.5
) -> tuple[Tensor, LogDeterminants]:
    """Bhattacharyya distance of two batches modelled as Gaussians (Eq. 5).

    1/8 (m_real - m_fake)^T S^-1 (m_real - m_fake) + 0.5 * log( det S / sqrt(det S_real * det S_fake) ), with S the mean
    of the two covariances, which are about the means, with ridge / p added to the variances.

    Arguments and returns are those of `jensen_shannon`; pooled is S.
    """
    with torch.autocast(real.device.type, enabled=False):
        real, fake = precise(real), precise(fake)
        first, second = (scatter(z, z.mean(0), covariance, ridge) for z in (real, fake))
        pooled, gap = (first + second) / 2, real.mean(0) - fake.mean(0)
        solved = gap / pooled if covariance == "diagonal" else torch.linalg.solve_ex(pooled, gap)[0]
        logs = LogDeterminants(*map(log_determinant, (first, second, pooled)))
        return (gap * solved).sum() / 8 + logs.spread(), logs


def centre(z: Tensor, covariance: Covariance) -> Tensor:
    """Centre of the second moments of `jensen_shannon`, ``(p,)``."""
    return F.normalize(z.mean(0), dim=0) if covariance == "full" else z.mean(0)


def scatter(z: Tensor, about: Tensor, covariance: Covariance, ridge: float) -> Tensor:
    """Second moments of z ``(N, p)`` about a point ``(p,)`` plus ridge / p: ``(p, p)``, or the diagonal ``(p,)``."""
    deviation, (count, dim) = z - about, z.shape
    if covariance == "diagonal":
        return deviation.square().mean(0) + ridge / dim
    return deviation.T @ deviation / count + ridge / dim * torch.eye(dim, dtype=z.dtype, device=z.device)


def log_determinant(covariance: Tensor) -> Tensor:
    """Log determinant of ``(p, p)``, or of a diagonal ``(p,)``; not finite if it is not positive definite."""
    if covariance.ndim == 1:
        return covariance.log().sum()
    factor, failed = torch.linalg.cholesky_ex(covariance)
    return torch.where(failed == 0, 2 * factor.diagonal().log().sum(), torch.nan)


@torch.no_grad()
@check_ranges
def neighbour_indices(
    queries: Tensor, keys: Tensor, k: PositiveInt, exclude: Tensor | None = None, skip_first: bool = False
) -> Tensor:
    """The k keys of greatest cosine similarity to each query, most similar first; carries no gradient.

    Args:
        queries: features ``(N, d)``, of any length.
        keys: features ``(M, d)``, of any length.
        k: neighbours of each query.
        exclude: int64 ``(N,)``, one key to exclude for each query: the query itself.
        skip_first: leave out the most similar key as well. The released code drops the first hit of every query, which
            is the image itself for a real one, but the true nearest neighbour for a generated one.

    Returns:
        int64 ``(N, k)`` indices of keys.

    Raises:
        UserError: there are too few keys.
    """
    needed = k + (exclude is not None) + skip_first
    if len(keys) < needed:
        raise UserError(
            f"neighbour_indices: {k} nearest neighbours among {len(keys)} features need {needed} features or more: "
            "give fewer neighbours, a larger batch or a longer queue"
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
        index: int64 ``(N, K)``, indices of values, see `neighbour_indices`.

    Returns:
        A scalar, in [-1, 1] on the unit sphere.
    """
    return (precise(z) * precise(values)[index].mean(1)).sum(1).mean()


@check_ranges
def norm_hinge(e: Tensor, side: Literal["below", "above"] = "below") -> Tensor:
    """Mean penalty on norms of embeddings ``(N, p)`` on one side of 1.

    ``below``: max(1 - ||e||, 0)^2, as released. ``above``: max(||e|| - 1, 0), the paper's Eq. 7. The penalty on the
    Jacobian's norm shrinks e, and the gradient of z = e / ||e|| grows as 1 / ||e||: only ``below`` keeps e from
    collapsing. If the Jacobian's target is far above its value, e grows, and ``above`` bounds it.
    """
    norm = torch.linalg.vector_norm(precise(e), dim=1)
    return F.relu(1 - norm).square().mean() if side == "below" else F.relu(norm - 1).mean()


def precise(x: Tensor) -> Tensor:
    """x in float32, or in its own type if that is wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
