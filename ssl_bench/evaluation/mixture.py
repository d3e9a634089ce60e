"""Gaussian mixtures fitted by EM, many mixtures in each pass over the rows (Dempster et al. 1977)."""

from collections.abc import Callable
from math import log, pi
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_bench.distributed import all_reduce_sum
from ssl_bench.errors import UserError
from ssl_bench.evaluation.lloyd import assign_clusters
from ssl_bench.evaluation.rows import Rows

CHUNK = 256
"""Number of rows whose products of coordinates are in memory at a time: 4 MB for 64 dimensions."""


class Mixture(NamedTuple):
    """R mixtures of K Gaussians each, float64.

    Attributes:
        weights: weights of the components ``(R, K)``, summing to 1 over K.
        means: means of the components ``(R, K, m)``.
        covariances: covariances ``(R, K, m, m)``, or variances ``(R, K, m)`` if covariances are diagonal.
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor

    def take(self, runs: Tensor | slice) -> "Mixture":
        """The mixtures at these positions."""
        return Mixture(*(part[runs] for part in self))


class Family(NamedTuple):
    """Gaussians as an exponential family: ``log N(z) = theta . phi(z)``.

    phi consists of 1, z and products of two coordinates. Both steps of EM are then one matrix product of all components
    of all mixtures with phi. The product is computed in float64, because its terms cancel, and float32 rounding would
    lose components that are as narrow as the ridge.

    Attributes:
        i: coordinate that is the first factor of each product, int64 ``(P,)``.
        j: coordinate that is the second factor, int64 ``(P,)``: all pairs ``i <= j`` for full covariances, pairs
            ``i = j`` for diagonal covariances.
        full: whether covariances are full; if False, they are diagonal.
    """

    i: Tensor
    j: Tensor
    full: bool

    @classmethod
    def of(cls, dim: int, full: bool, device: torch.device) -> "Family":
        """Family of Gaussians in ``dim`` dimensions."""
        i, j = torch.triu_indices(dim, dim, device=device) if full else torch.arange(dim, device=device).expand(2, -1)
        return cls(i, j, full)

    def phi(self, z: Tensor) -> Tensor:
        """Sufficient statistics ``(1 + m + P, n)`` of points ``(n, m)``."""
        z = z.T.contiguous()
        return torch.cat([torch.ones_like(z[:1]), z, z[self.i] * z[self.j]])

    def theta(self, mixture: Mixture) -> Tensor:
        """Coefficients theta of ``log(weight * density) = theta . phi``, ``(R K, 1 + m + P)``.

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
        """M step: the mixtures of maximum likelihood.

        Args:
            statistics: sums over points of responsibility times phi, ``(R, K, 1 + m + P)``.
            ridge: number that is added to every variance.
        """
        # An empty component keeps a weight near 0 but not 0, so that its logarithm is finite.
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
        """Logarithm of weight times density of each component at each point, ``(R, k, n)``."""
        return (theta @ phi).view(-1, k, phi.shape[1])


ToPoints = Callable[[Tensor], Tensor]
"""Function of the features of a block ``(n, D)`` that returns the points to fit, float64 ``(n, m)``."""


def from_centres(rows: Rows, points: ToPoints, family: Family, centres: Tensor, scale: Tensor, ridge: float) -> Mixture:
    """Initial mixtures from k-means: each component is fitted to the points nearest to one of K centres.

    Args:
        rows: rows whose points are assigned.
        points: maps features to points.
        family: kind of covariance.
        centres: float32 ``(R, K, m)``, in the coordinates ``points * scale``.
        scale: scale of each coordinate in k-means, ``(m,)``.
        ridge: number that is added to every variance.
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
    rows: Rows, points: ToPoints, family: Family, start: Mixture, *, ridge: float, max_iter: int, tol: float
) -> tuple[Mixture, Tensor]:
    """Expectation maximisation of R mixtures, one pass over the rows per iteration for all of them.

    A mixture stops when its mean log-likelihood changes by less than `tol`, as in scikit-learn.

    Args:
        rows: rows whose points are fitted.
        points: maps features to points.
        family: kind of covariance.
        start: R initial mixtures.
        ridge: number that is added to every variance in every iteration.
        max_iter: maximum number of iterations.
        tol: tolerance in nats per point.

    Returns:
        The mixtures, and the mean log-likelihoods ``(R,)`` before the last M step. Apart from the effect of the
        ridge, this step does not decrease them.

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
