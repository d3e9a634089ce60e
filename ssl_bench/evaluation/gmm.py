"""A Gaussian for each class, fitted by EM, matched with the classes (Bizeul et al. 2024, arXiv 2402.01399)."""

from collections.abc import Callable
from dataclasses import dataclass
from math import log, pi
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ssl_bench.distributed import all_reduce_sum
from ssl_bench.errors import UserError
from ssl_bench.evaluation.clustering import contingency, figures
from ssl_bench.evaluation.kmeans import lloyd, nearest, seed_centres
from ssl_bench.evaluation.rows import Rows
from ssl_bench.evaluation.task import Task

LARGEST = 0.25
"""GiB of the parameters of all mixtures, above which a user decides."""
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
            _, cluster = nearest((z * scale).float(), centres)
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


def sample(rows: Rows, count: int) -> Rows:
    """`count` rows at even distances, or all if there are no more."""
    if len(rows) <= count:
        return rows
    every = torch.arange(count) * len(rows) // count
    index = every.to(rows.features.device) if rows.index is None else rows.index[every.to(rows.index.device)]
    return Rows(rows.features, rows.y[every.to(rows.y.device)], rows.device, index)


@dataclass(frozen=True)
class GMM:
    """Fits one Gaussian for each class to the train features, without labels, and asks how well they are the classes.

    Test images go to their most probable component; of the `inits` mixtures the one of greatest train likelihood is
    scored. As many start from k-means clusterings of their own, as scikit-learn's. With more than 5,000 (and 200 for
    each component) training images, all that is on so many of them, at even distances, and EM on all images goes on
    from the mixture of greatest likelihood there.

    Full covariances are of at most `max_dim` dimensions, the first principal components of the (centred, unscaled)
    train features, as time grows with the square of their number; diagonal ones are of all features. Directions, or
    features, that are constant but for rounding error are left out.

    Args:
        covariance: ``full`` or ``diagonal``.
        inits: mixtures fitted.
        max_iter: most EM iterations.
        tol: EM ends when the mean log-likelihood changes by less, in nats per image.
        ridge: this part of the train features' own variance, in each principal direction (full) or of each feature
            (diagonal), is added to every component's; scikit-learn adds 1e-6 whatever their scale.
        max_dim: most dimensions of full covariances.
        seed: of the k-means seeding.
    """

    covariance: Literal["full", "diagonal"] = "full"
    inits: int = 20
    max_iter: int = 100
    tol: float = 1e-3
    ridge: float = 1e-6
    max_dim: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.inits, self.max_iter, self.max_dim) < 1 or self.tol < 0 or self.ridge < 0:
            raise UserError(
                f"gmm: inits = {self.inits}, max_iter = {self.max_iter}, max_dim = {self.max_dim}, tol = {self.tol}, "
                f"ridge = {self.ridge}; give at least 1 of each number, and a tol and a ridge of 0 or more"
            )

    def __call__(self, task: Task) -> list[dict[str, float]]:
        """For each target ``gmm/accuracy``, ``gmm/nmi`` and ``gmm/ari`` in percent, and ``gmm/log_likelihood``.

        The last is in nats per test image, of the density of the features (or their projection) in their own units.

        Raises:
            UserError: fewer training images than components, constant features, or a singular covariance.
        """
        k, train, test = task.num_classes, task.train, task.test
        if len(train) < k:
            raise UserError(f"gmm: {len(train)} training images for {k} components; give more images")
        points, scale = self._coordinates(task)
        family = Family.of(len(scale), self.covariance == "full", task.device)
        size = self.inits * k * (1 + len(scale) + len(family.i)) * 8 / 2**30
        if size > LARGEST:
            raise UserError(
                f"gmm: {self.inits} mixtures of {k} components in {len(scale)} dimensions take {size:.1f} GiB, and as "
                f"much several times over; give smaller inits or max_dim, or covariance diagonal"
            )
        first = sample(train, max(5000, 200 * k))

        def scaled(x: Tensor) -> Tensor:
            return (points(x) * scale).float()

        centres = seed_centres(first, scaled, k, self.inits, self.seed)
        centres = lloyd(first, scaled, centres, unit=False, max_iter=self.max_iter, tol=1e-4)
        fitted = from_centres(first, points, family, centres, scale, self.ridge)
        for rows in (first,) if first is train else (first, train):
            fitted, likelihood = em(
                rows, points, family, fitted, ridge=self.ridge, max_iter=self.max_iter, tol=self.tol
            )
            fitted = fitted.take(likelihood.argmax().reshape(1))
        theta = family.theta(fitted)
        table = test.y.new_zeros(task.num_targets, 1, k, k)
        total = torch.zeros((), dtype=torch.float64, device=task.device)
        for x, y in test.blocks():
            for z, labels in zip(points(x).split(CHUNK), y.split(CHUNK), strict=True):
                joint = family.log_densities(theta, family.phi(z), k)
                table += contingency(joint.argmax(1).T, labels, k, k)
                total += joint.logsumexp(1).sum()
        found = figures(all_reduce_sum(table))
        density = (all_reduce_sum(total) / len(test) - scale.log().sum()).item()
        return [
            {f"gmm/{name}": found[name][t].item() for name in ("accuracy", "nmi", "ari")}
            | {"gmm/log_likelihood": density}
            for t in range(task.num_targets)
        ]

    def _coordinates(self, task: Task) -> tuple[Points, Tensor]:
        """Features to points of variance 1 in each coordinate, and the coordinates' deviations ``(m,)`` before that."""
        mean, deviation, correlation = task.moments()
        if self.covariance == "diagonal":
            kept = correlation.diagonal() > 0.5  # 1, or rounding error where a feature is constant
            scale = deviation[kept]
            axes = None
        else:
            values, vectors = torch.linalg.eigh(correlation * torch.outer(deviation, deviation))
            # What float32 makes of a variance of 0 is this small a part of the variance of the features it is a sum of.
            rounding = 1e-6 * vectors.square().T @ (correlation.diagonal() * deviation.square())
            kept = (values > rounding).nonzero().flatten()[-self.max_dim :].flip(0)
            scale = values[kept].sqrt()
            axes = vectors[:, kept] / scale
        if not len(scale):
            raise UserError(f"gmm: the features of all {len(task.train)} training images are the same")

        def points(x: Tensor) -> Tensor:
            centred = x.double() - mean
            return centred[:, kept] / scale if axes is None else centred @ axes

        return points, scale
