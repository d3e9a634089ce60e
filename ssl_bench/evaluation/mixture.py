"""Gaussian mixtures and EM, many mixtures in one pass, each step a matrix product (Dempster et al. 1977)."""

from collections.abc import Callable
from math import log, pi
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_bench.distributed import all_reduce_sum
from ssl_bench.errors import UserError
from ssl_bench.evaluation.protocols.kmeans import assign_clusters
from ssl_bench.evaluation.rows import Rows

CHUNK = 256
"""Rows whose products of coordinates are held at a time: 4 MB for 64 dimensions."""


class Mixture(NamedTuple):
    """R mixtures of K Gaussians each, float64.

    Attributes:
        weights: ``(R, K)``, each mixture's sum to 1.
        means: ``(R, K, m)``.
        covariances: ``(R, K, m, m)``, or ``(R, K, m)`` if they are diagonal.
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor

    def take(self, runs: Tensor | slice) -> "Mixture":
        """Some of the R mixtures."""
        return Mixture(*(part[runs] for part in self))


class Family(NamedTuple):
    """Gaussians as an exponential family: ``log N(z) = theta . phi(z)``, phi being 1, z and products of coordinates.

    Both steps of EM are then one matrix product, of all components of all mixtures with phi. It is in float64: the
    products' sums cancel, and a component as narrow as the ridge would be lost in float32's rounding.

    Attributes:
        i: int64 ``(P,)``, first factors of the products.
        j: int64 ``(P,)``, second factors; ``i <= j`` each pair once if covariances are full, ``i = j`` if diagonal.
        full: whether they are full.
    """

    i: Tensor
    j: Tensor
    full: bool

    @classmethod
    def of(cls, dim: int, full: bool, device: torch.device) -> "Family":
        """The family of Gaussians in ``dim`` dimensions."""
        i, j = torch.triu_indices(dim, dim, device=device) if full else torch.arange(dim, device=device).expand(2, -1)
        return cls(i, j, full)

    def phi(self, z: Tensor) -> Tensor:
        """``(1 + m + P, n)`` of points ``(n, m)``."""
        z = z.T.contiguous()
        return torch.cat([torch.ones_like(z[:1]), z, z[self.i] * z[self.j]])

    def theta(self, mixture: Mixture) -> Tensor:
        """Weighted log-densities' coefficients on phi, ``(R K, 1 + m + P)``.

        Raises:
            UserError: a covariance is not positive definite.
        """
        weights, means, covariances = mixture
        if self.full:
            factor, failed = torch.linalg.cholesky_ex(covariances)
            singular = failed.any() | ~covariances.isfinite().all()
            log_determinant = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        else:
            singular = ~(covariances > 0).all()
            log_determinant = covariances.log().sum(-1)
        if singular:
            raise UserError("gmm: a component's covariance is singular; give a larger ridge or covariance diagonal")
        if self.full:
            precision = torch.cholesky_inverse(factor)
            linear = (precision @ means.unsqueeze(-1)).squeeze(-1)
            square = -precision[..., self.i, self.j] / (1 + (self.i == self.j))
        else:
            linear, square = means / covariances, -0.5 / covariances
        constant = weights.log() - 0.5 * (means.shape[-1] * log(2 * pi) + log_determinant + (linear * means).sum(-1))
        return torch.cat([constant.unsqueeze(-1), linear, square], -1).flatten(0, 1)

    def maximise(self, statistics: Tensor, ridge: float) -> Mixture:
        """The mixtures of greatest likelihood for sums ``(R, K, 1 + m + P)`` of responsibility times phi.

        `ridge` is added to every variance.
        """
        # A component without a point keeps weight near 0 and not 0, whose logarithm is not finite.
        sizes = statistics[..., 0] + 10 * torch.finfo(statistics.dtype).eps
        average = statistics / sizes.unsqueeze(-1)
        dim = int(self.j[-1]) + 1
        means, second = average[..., 1 : 1 + dim], average[..., 1 + dim :]
        covariances = second - means[..., self.i] * means[..., self.j]
        if self.full:
            square = covariances.new_zeros(*sizes.shape, dim, dim)
            square[..., self.i, self.j] = square[..., self.j, self.i] = covariances
            square.diagonal(dim1=-2, dim2=-1).add_(ridge)
            return Mixture(sizes / sizes.sum(-1, keepdim=True), means, square)
        return Mixture(sizes / sizes.sum(-1, keepdim=True), means, covariances.clamp_min(0) + ridge)

    def log_densities(self, theta: Tensor, phi: Tensor, k: int) -> Tensor:
        """Log of weight times density of each component ``(R, k, n)``."""
        return (theta @ phi).view(-1, k, phi.shape[1])


Points = Callable[[Tensor], Tensor]
"""Maps a block's features ``(n, D)`` to the points ``(n, m)``, float64, that the mixture is of."""


def from_centres(rows: Rows, points: Points, family: Family, centres: Tensor, scale: Tensor, ridge: float) -> Mixture:
    """Mixtures whose components are the points nearest to each of K centres ``(R, K, m)``, float32.

    Args:
        rows: whose points they are.
        points: features to points.
        family: kind of covariance.
        centres: in the coordinates ``points * scale``.
        scale: ``(m,)``.
        ridge: added to every variance.
    """
    runs, k, dim = centres.shape
    total = torch.zeros(runs * k, 1 + dim + len(family.i), dtype=torch.float64, device=rows.device)
    for x, _ in rows.blocks():
        for z in points(x).split(CHUNK):
            _, cluster = assign_clusters((z * scale).float(), centres)
            one_hot = z.new_zeros(len(z), runs, k).scatter_(2, cluster.unsqueeze(2), 1).flatten(1)
            total += one_hot.T @ family.phi(z).T
    return family.maximise(all_reduce_sum(total).view(runs, k, -1), ridge)


def em(
    rows: Rows, points: Points, family: Family, start: Mixture, *, ridge: float, max_iter: int, tol: float
) -> tuple[Mixture, Tensor]:
    """Expectation maximisation of R mixtures in one pass of the rows for each iteration.

    A mixture ends when its mean log-likelihood changes by less than `tol`, as scikit-learn's.

    Args:
        rows: whose points are fitted.
        points: features to points.
        family: kind of covariance.
        start: R mixtures to begin from.
        ridge: added to every variance in every iteration.
        max_iter: most iterations.
        tol: nats per point.

    Returns:
        The mixtures, and the mean log-likelihood ``(R,)`` of those the last step began from, which is no greater
        but for the ridge.

    Raises:
        UserError: a covariance is not positive definite.
    """
    fitted = Mixture(*(part.clone() for part in start))
    runs, k = start.weights.shape
    likelihood = start.weights.new_full((runs,), -torch.inf)
    active = torch.arange(runs, device=likelihood.device)
    for _ in range(max_iter):
        theta = family.theta(fitted.take(active))
        statistics, total = torch.zeros_like(theta), torch.zeros_like(likelihood[active])
        for x, _ in rows.blocks():
            for z in points(x).split(CHUNK):
                phi = family.phi(z)
                joint = family.log_densities(theta, phi, k)
                evidence = joint.logsumexp(1, keepdim=True)
                statistics += joint.sub_(evidence).exp_().flatten(0, 1) @ phi.T
                total += evidence.sum((1, 2))
        new = family.maximise(all_reduce_sum(statistics).view(len(active), k, -1), ridge)
        for whole, part in zip(fitted, new, strict=True):
            whole[active] = part
        mean = all_reduce_sum(total) / len(rows)
        change = mean - likelihood[active]
        likelihood[active] = mean
        active = active[change.abs() >= tol]
        if not len(active):
            break
    return fitted, likelihood
