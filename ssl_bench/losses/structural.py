"""The terms of "Structural Adversarial Objectives for Self-Supervised Representation Learning" (arXiv 2310.00357).

Embeddings are e ``(N, p)`` and, on the unit sphere, z = e / ||e||. Everything is computed in at least float32, even
under autocast. There is no communication between ranks; for terms of the global batch, the caller gathers it first. The
method `ssl_bench.methods.structural_gan` adds the terms up (Eq. 8).
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_bench.errors import UserError
from ssl_bench.ranges import NonNegativeFloat, PositiveInt, check_ranges

Covariance = Literal["full", "diagonal"]


class LogDeterminants(NamedTuple):
    """Log determinants of the covariances in a distance; the distance is finite only if all of them are."""

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
        ridge: see above. Zero gives the paper's equation; the divergence is then not finite with ``full`` and N <= p.

    Returns:
        The divergence, a scalar, and the log determinants. The divergence is not finite if a log determinant is not.
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

    1/8 (m_real - m_fake)^T S^-1 (m_real - m_fake) + 0.5 * log( det S / sqrt(det S_real * det S_fake) ), where S_real
    and S_fake are covariances about the means m_real and m_fake with ridge / p added to the variances, and S is their
    mean.

    Arguments and returns are those of `jensen_shannon`; the log determinant `pooled` is that of S.
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
    """Log determinant of a covariance ``(p, p)`` or diagonal ``(p,)``; not finite unless it is positive definite."""
    if covariance.ndim == 1:
        return covariance.log().sum()
    factor, failed = torch.linalg.cholesky_ex(covariance)
    return torch.where(failed == 0, 2 * factor.diagonal().log().sum(), torch.nan)


@torch.no_grad()
@check_ranges
def neighbour_indices(
    queries: Tensor, keys: Tensor, k: PositiveInt, exclude: Tensor | None = None, skip_first: bool = False
) -> Tensor:
    """Indices of the k keys of greatest cosine similarity to each query, most similar first; without gradients.

    Args:
        queries: features ``(N, d)``, of any length.
        keys: features ``(M, d)``, of any length.
        k: number of neighbours of each query.
        exclude: int64 ``(N,)``, index of one key to exclude for each query, which is the query itself.
        skip_first: if True, also omit the most similar key. The released code omits it for every query: for a real
            image it is the image itself, but for a generated image it is the nearest neighbour.

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

    A term of Eq. 6. As printed, the second sum over neighbours lacks the factor 1/K, which the first sum and the
    released code have.

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

    ``below`` is max(1 - ||e||, 0)^2, as in the released code. ``above`` is max(||e|| - 1, 0), as in the paper's Eq. 7.
    The penalty on the Jacobian's norm shrinks e, and the gradient of z = e / ||e|| grows as 1 / ||e||; only ``below``
    keeps e from collapsing. If the target of the Jacobian's norm is far above its value, e grows, and ``above`` bounds
    it.
    """
    norm = torch.linalg.vector_norm(precise(e), dim=1)
    return F.relu(1 - norm).square().mean() if side == "below" else F.relu(norm - 1).mean()


def precise(x: Tensor) -> Tensor:
    """x in float32, or in its own type if that is wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
