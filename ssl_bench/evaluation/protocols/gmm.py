"""Gaussian mixture fitted by EM, components matched with classes (Bizeul et al. 2024, arXiv 2402.01399)."""

import warnings
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ssl_bench.distributed import all_reduce_sum
from ssl_bench.errors import UserError
from ssl_bench.evaluation.clustering_metrics import clustering_metrics, count_pairs
from ssl_bench.evaluation.lloyd import kmeans_plus_plus, lloyd
from ssl_bench.evaluation.mixture import CHUNK, Family, Mixture, ToPoints, em, from_centres
from ssl_bench.evaluation.notes import ProtocolNote
from ssl_bench.evaluation.points import power_of_two
from ssl_bench.evaluation.rows import Rows
from ssl_bench.evaluation.span import Span
from ssl_bench.evaluation.task import CONSTANT, Task
from ssl_bench.ranges import NonNegativeFloat, PositiveInt, check_ranges

MAX_GIB = 0.25
"""Maximum size in GiB of the parameters of the mixtures that are fitted at a time, and of points that are kept."""


def subsample(rows: Rows, count: int) -> Rows:
    """`count` evenly spaced rows; all rows if there are at most `count`."""
    if len(rows) <= count:
        return rows
    return rows.select(torch.arange(count) * len(rows) // count)


@check_ranges
@dataclass(frozen=True)
class GMM:
    """Gaussian mixture with one component per class, fitted on the train features without labels.

    Test images are assigned to their most probable component. Components are matched one to one with classes so that
    the accuracy is highest. EM runs from `inits` different k-means clusterings, and the mixture with the highest
    likelihood on train is kept, as in scikit-learn. If there are more than ``max(5000, 200 * components)`` training
    images, k-means and EM first run on a subset of that many evenly spaced images. EM on all images then starts from
    the best mixture of the subset. If the mixtures of all initialisations do not fit into memory, EM runs on some of
    them at a time, which does not change the result.

    With full covariances, features are projected on at most `max_dim` principal components (centred, not scaled),
    because the time grows with the square of the dimension. With diagonal covariances, all features are used. Principal
    components or features whose variance is zero up to rounding error are dropped. A note tells how many principal
    components are left out, and how many components of the mixture have no more images than dimensions (full) or fewer
    than two images (diagonal), so that their covariance is determined by the ridge.

    Args:
        covariance: kind of covariances, ``full`` or ``diagonal``; ``auto`` is full if one mixture fits into memory,
            else diagonal. The metrics of diagonal covariances have names of their own.
        inits: number of initialisations.
        max_iter: maximum number of EM iterations.
        tol: EM stops when the mean log-likelihood per image changes by less than `tol` nats.
        ridge: number added to the variances of every component, as a fraction of the variance of the train features in
            each principal direction (full) or of each feature (diagonal). scikit-learn adds 1e-6 at any scale.
        max_dim: maximum dimension of full covariances.
        seed: random seed of k-means++.
    """

    covariance: Literal["auto", "full", "diagonal"] = "auto"
    inits: PositiveInt = 20
    max_iter: PositiveInt = 100
    tol: NonNegativeFloat = 1e-3
    ridge: NonNegativeFloat = 1e-6
    max_dim: PositiveInt = 64
    seed: int = 0

    def __call__(self, task: Task) -> list[dict[str, float]]:
        """``gmm/accuracy``, ``gmm/nmi`` and ``gmm/ari`` in percent, and ``gmm/log_likelihood``, for each target.

        With diagonal covariances, the names begin with ``gmm_diagonal``. The log-likelihood is the mean over test
        images in nats. The density is that of the features, or of their projection, in the original units.

        Raises:
            UserError: fewer training images than components, constant features, a singular covariance, or a mixture
                that does not fit into memory.
        """
        k, train, test = task.num_classes, task.train.exact(), task.test.exact()
        if len(train) < k:
            raise UserError(f"gmm: {len(train)} training images for {k} components; give more images")
        for full in {"auto": (True, False), "full": (True,), "diagonal": (False,)}[self.covariance]:
            points, scale, unit = self._coordinates(task, full)
            family = Family.of(len(scale), full, task.device)
            size = k * (1 + len(scale) + len(family.i)) * 8 / 2**30
            if size <= MAX_GIB:
                break
        else:
            smaller = "give a smaller max_dim, or covariance auto" if full else "leave gmm out of the protocols"
            raise UserError(
                f"gmm: a mixture of {k} components in {len(scale)} dimensions takes {size:.1f} GiB, and several times "
                f"that while it is fitted; {smaller}"
            )
        sample = subsample(train, max(5000, 200 * k))
        first, points_of_first = _kept(sample, points, len(scale))
        widths = scale / unit  # float32 squares of 1e-30 are 0

        def scaled(x: Tensor) -> Tensor:
            return (points_of_first(x) * widths).float()

        try:
            centres = kmeans_plus_plus(first, scaled, k, self.inits, self.seed)
        except UserError as error:
            raise UserError(f"gmm: {error}") from error
        centres = lloyd(first, scaled, centres, max_iter=self.max_iter, tol=1e-4)

        def best(rows: Rows, points: ToPoints, start: Mixture) -> tuple[Mixture, Tensor]:
            fitted, likelihood = em(rows, points, family, start, ridge=self.ridge, max_iter=self.max_iter, tol=self.tol)
            chosen = likelihood.argmax().reshape(1)
            return fitted.take(chosen), likelihood[chosen]

        def initial(centres: Tensor) -> Mixture:
            return from_centres(first, points_of_first, family, centres, widths, self.ridge)

        fitted, likelihood = zip(
            *(best(first, points_of_first, initial(some)) for some in centres.split(max(1, int(MAX_GIB / size)))),
            strict=True,
        )
        mixture = fitted[int(torch.cat(likelihood).argmax())]
        if sample is not train:
            mixture, _ = best(*_kept(train, points, len(scale)), mixture)
        few = int((mixture.weights * len(train) < (len(scale) + 1 if full else 2)).sum())
        if few:
            warnings.warn(
                f"gmm: {few} of {k} components have too few images for their covariance in {len(scale)} dimensions",
                ProtocolNote,
                stacklevel=2,
            )
        theta = family.theta(mixture)
        table = test.y.new_zeros(task.num_targets, 1, k, k)
        total = torch.zeros((), dtype=torch.float64, device=task.device)
        for x, y in test.blocks():
            for z, labels in zip(points(x).split(CHUNK), y.split(CHUNK), strict=True):
                joint = family.log_densities(theta, family.phi(z), k)
                count_pairs(table, joint.argmax(1).T, labels)
                total += joint.logsumexp(1).sum()
        scores = clustering_metrics(all_reduce_sum(table))
        density = (all_reduce_sum(total) / len(test) - scale.log().sum()).item()
        prefix = "gmm" if full else "gmm_diagonal"
        return [
            {f"{prefix}/{name}": scores[name][t].item() for name in ("accuracy", "nmi", "ari")}
            | {f"{prefix}/log_likelihood": density}
            for t in range(task.num_targets)
        ]

    def _coordinates(self, task: Task, full: bool) -> tuple[ToPoints, Tensor, Tensor]:
        """Map of features to points with variance 1 in each coordinate, and the deviations ``(m,)`` before scaling.

        The last result is a power of two of the size of the deviations.
        """
        mean, deviation, varies = task.scaling()
        unit = power_of_two((deviation * varies).max())
        axes = None
        if not full:
            kept = varies
            scale = deviation[kept]
        else:
            values, vectors = _principal_axes(task, unit)
            # Rounding to float32 turns a variance of 0 into about 1e-6 of the features' variances in the direction.
            rounding = 1e-6 * vectors.square().T @ (deviation * varies / unit).square()
            rounding = rounding.clamp_min(1e-15 * values[-1].item())
            varying = (values > rounding).nonzero().flatten()
            kept = varying[-self.max_dim :].flip(0)
            if len(varying) > len(kept):
                share = 100 * float(values[kept].sum() / values[varying].sum())
                warnings.warn(
                    f"gmm: fitted on {len(kept)} of {len(varying)} principal components, {share:.0f} % of the variance",
                    ProtocolNote,
                    stacklevel=3,
                )
            scale = values[kept].sqrt() * unit
            axes = vectors[:, kept] / scale
        if not len(scale):
            raise UserError(
                f"gmm: the features of all {len(task.train)} training images are the same up to rounding errors: no "
                f"standard deviation exceeds {CONSTANT[task.train.dtype]:.0e} times the mean; subtract the means"
            )

        def points(x: Tensor) -> Tensor:
            centred = x.double() - mean
            return centred[:, kept] / scale if axes is None else centred @ axes

        return points, scale, unit


def _kept(rows: Rows, points: ToPoints, dim: int) -> tuple[Rows, ToPoints]:
    """Rows whose features are their points, if these fit into memory, and the map from features to points."""
    if len(rows) * dim * 8 / 2**30 > MAX_GIB:
        return rows, points
    return rows.mapped(points, dim, torch.float64), Tensor.double


def _principal_axes(task: Task, unit: Tensor) -> tuple[Tensor, Tensor]:
    """Variances of the train features along their principal axes, increasing, and the axes ``(d, m)``, float64.

    Variances are in units of the square of `unit`.
    """
    mean, deviation, varies = task.scaling()
    if task.wide:
        span = Span.of((task.train.exact(),), lambda x: (x.double() - mean) * varies / unit)
        return span.second_moments, span.embed(torch.eye(len(task.train), dtype=mean.dtype, device=mean.device)).T
    deviation = deviation * varies / unit
    variances, axes = torch.linalg.eigh(task.moments()[1] * torch.outer(deviation, deviation))
    return variances, axes
