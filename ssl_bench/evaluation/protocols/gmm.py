"""A Gaussian for each class, fitted by EM, matched with the classes (Bizeul et al. 2024, arXiv 2402.01399)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ssl_bench.distributed import all_reduce_sum
from ssl_bench.errors import UserError
from ssl_bench.evaluation.clustering import contingency, figures
from ssl_bench.evaluation.mixture import CHUNK, Family, Points, em, from_centres
from ssl_bench.evaluation.protocols.kmeans import lloyd, seed_centres
from ssl_bench.evaluation.rows import Rows
from ssl_bench.evaluation.task import Task

LARGEST = 0.25
"""GiB of the parameters of all mixtures, above which a user decides."""


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
