"""Distances of samples and test images to the nearest training images (Meehan et al. 2020, arXiv 2004.05675)."""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from ssl_bench.data.types import Split
from ssl_bench.distributed import all_gather, gather_rows, share_out
from ssl_bench.errors import UserError
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.features import FeatureSplit
from ssl_bench.evaluation.generative.sampling import sample_images
from ssl_bench.evaluation.neighbours import search, top_scores
from ssl_bench.evaluation.rows import Rows
from ssl_bench.evaluation.thumbnails import fetch_thumbnails, thumbnails
from ssl_bench.plots import primitives
from ssl_bench.ranges import Interval, check_ranges

SHOWN, NEAREST = 8, 4
BATCH_SIZE = 100
MIN_DISTANCE = 1e-5
"""Smaller distances of unit vectors are rounding errors of an encoder in float32."""


@check_ranges
@dataclass(frozen=True)
class Memorisation:
    """Distances of samples to the nearest training image, compared with the distances of test images.

    If a method has learned the distribution, its samples are as far from the training images as test images are. Copies
    of training images are nearer. Typical samples (few modes, or blurred) are also nearer without being copies, so the
    plot should be inspected. Distances are between features of the method's own encoder, scaled to unit length.
    Training images are those of train and validation, since pretraining uses both.

    ``memorisation.png`` shows samples, each with its nearest training images by pixels (Euclidean) and by features.

    Args:
        images: number of samples, and maximum number of test images.
        seed: seed of the samples and of the choice of test images.
    """

    images: Annotated[int, Interval(2)] = 1000
    seed: int = 0

    def runs_by_default(self, encoder: EvaluatedEncoder) -> bool:
        """Whether the method can sample images, the samples can be encoded, and there are real images."""
        available = None not in (encoder.sample, encoder.encode, encoder.images)
        return available and len(encoder.image_shape) == 3

    def __call__(self, encoder: EvaluatedEncoder) -> dict[str, float]:
        """``memorisation/distance_ratio`` and ``memorisation/mann_whitney_z``.

        ``distance_ratio`` is the median distance of samples divided by the median distance of test images. It is about
        1, and much smaller for copies. ``mann_whitney_z`` is the paper's test statistic Z_U (C_T with the whole space
        as one cell). It is about standard normal if both sets of distances have the same distribution, and below -3 if
        samples are nearer.

        Raises:
            UserError: there are no samples, no encoder or no real images; samples or their features are not finite or
                have another shape; half of the test images have the features of a training image; or the plot cannot
                be written.
        """
        if not self.runs_by_default(encoder):
            raise UserError("memorisation needs samples, their encoder and real images (C, H, W)")
        bank = tuple(Rows.of(part, encoder.device) for part in (encoder.features.train, encoder.features.validation))
        shown, sampled = self._samples(encoder)
        test = encoder.features.test.features
        chosen = torch.randperm(len(test), generator=torch.Generator().manual_seed(self.seed))[: self.images]
        queries = torch.cat([sampled, test[chosen].to(encoder.device)])
        k = min(NEAREST, sum(map(len, bank)))
        unlabelled = FeatureSplit(queries, torch.zeros(len(queries)).long())
        found = search(bank, Rows.of(unlabelled, encoder.device), k, ("cosine",))
        distances = found["cosine"].distance[:, 0]
        self._plot(encoder, shown, _nearest_by_pixels(encoder, shown, k), found["cosine"].row[: len(shown)])
        of_samples, of_test = distances.split([len(sampled), len(chosen)])
        if of_test.median() < MIN_DISTANCE:
            raise UserError("memorisation: the features of half of the test images are those of training images")
        return {
            "memorisation/distance_ratio": (of_samples.median() / of_test.median()).item(),
            "memorisation/mann_whitney_z": mann_whitney_z(of_samples, of_test),
        }

    def _samples(self, encoder: EvaluatedEncoder) -> tuple[Tensor, Tensor]:
        """Samples to plot ``(s, C, H, W)`` and the features ``(n, d)`` of all samples, the same in every process."""
        assert encoder.encode is not None
        train = encoder.features.train.features
        shown = [torch.empty(0, *encoder.image_shape, device=encoder.device)]
        features = [torch.empty(0, train.shape[1], device=encoder.device)]
        for i, images in sample_images(encoder, self.images, BATCH_SIZE, self.seed):
            shown += [images[:SHOWN]] if i == 0 else []
            features.append(encoder.encode(images))
        result = gather_rows(torch.cat(features))
        if not result.isfinite().all():
            raise UserError("memorisation: features of samples are not finite; the method has diverged")
        return gather_rows(torch.cat(shown)), result

    def _plot(self, encoder: EvaluatedEncoder, shown: Tensor, by_pixels: Tensor, by_features: Tensor) -> None:
        """Write the plot in the first process; rows ``(s, k)`` are indices into train, followed by validation."""
        rows, size = torch.stack([by_pixels, by_features]).cpu().long(), len(encoder.features.train.features)
        images = fetch_thumbnails(encoder, "train", rows[rows < size])
        validation = fetch_thumbnails(encoder, "validation", rows[rows >= size] - size)
        images |= {size + i: image for i, image in validation.items()}

        def plot() -> str:
            figure = primitives.canvas(1 + 2 * NEAREST, len(shown))
            axes = figure.subplots(1, 3, width_ratios=[1, NEAREST, NEAREST])
            grids = [torch.stack([torch.stack([images[i] for i in row]) for row in part]) for part in rows.tolist()]
            titles = "samples", "nearest training images by pixels", "by the encoder's features"
            for grid, title, ax in zip([thumbnails(shown).unsqueeze(1), *grids], titles, axes, strict=True):
                primitives.show_grid(grid, ax)
                ax.set_title(title, fontsize=9)
            try:
                (encoder.folder / "figures").mkdir(parents=True, exist_ok=True)
                primitives.save(figure, encoder.folder / "figures" / "memorisation.png", encoder.title)
            except OSError as error:
                return f"memorisation: cannot plot memorisation.png: {error}"
            return ""

        (problem,) = share_out([plot])
        if problem:
            raise UserError(problem)


def mann_whitney_z(x: Tensor, y: Tensor) -> float:
    """Standardised Mann-Whitney U statistic of values ``(m,)`` against values ``(n,)`` (2004.05675, section 3.1).

    It is about standard normal if both have the same distribution, and negative if x tends to be smaller. A tie adds
    one half to U.
    """
    m, n = len(x), len(y)
    u = sum(float((part > y).sum() + (part == y).sum() / 2) for part in x.unsqueeze(1).split(1024))
    return (u - m * n / 2) / math.sqrt(m * n * (m + n + 1) / 12)


def _nearest_by_pixels(encoder: EvaluatedEncoder, images: Tensor, k: int) -> Tensor:
    """Indices ``(s, k)``, into train followed by validation, of the nearest images by Euclidean distance of pixels."""
    assert encoder.images is not None
    q = images.flatten(1)
    sizes: dict[Split, int] = {
        "train": len(encoder.features.train.features),
        "validation": len(encoder.features.validation.features),
    }
    best = (
        torch.full((len(q), k), -torch.inf, device=q.device),
        torch.full((len(q), k), sum(sizes.values()), dtype=torch.int64, device=q.device),
    )
    start = 0
    for split, size in sizes.items():
        for batch in encoder.images(split):
            x = batch.images.flatten(1)
            score, column = (q @ x.T - x.square().sum(1) / 2).topk(min(k, len(x)))  # decreases with |q - x|^2
            row = start + batch.ids.to(q.device)[column]
            best = top_scores(torch.cat([best[0], score], 1), torch.cat([best[1], row], 1), k)
        start += size
    score, row = (all_gather(part).movedim(0, 1).flatten(1) for part in best)
    return top_scores(score, row, k)[1]
