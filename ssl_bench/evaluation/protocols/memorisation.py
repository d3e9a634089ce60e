"""Whether generated images are copies of training images (Meehan et al. 2020, arXiv 2004.05675)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ssl_bench.data.types import Split
from ssl_bench.distributed import all_gather, gather_rows, share_out
from ssl_bench.errors import UserError
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.features import FeatureSplit
from ssl_bench.evaluation.generative.sampling import drawn
from ssl_bench.evaluation.neighbours import Neighbours, search, top_neighbours
from ssl_bench.evaluation.protocols.maps import fetch, small
from ssl_bench.evaluation.rows import Rows
from ssl_bench.plots import primitives

SHOWN, NEAREST = 8, 4
BATCH_SIZE = 100
LEAST = 1e-3
"""Distances below are rounding: that of a feature to itself comes out as up to the root of float32's precision."""


@dataclass(frozen=True)
class Memorisation:
    """Distances from generated images to the nearest training image, against those from test images.

    A method that has learned the distribution draws images as far from the training images as test images are. One
    that copies draws nearer ones, but so does one that draws what is typical only (few kinds, or blurred): look at
    the pictures. Distances are between features of the method's own encoder brought to unit length. Training images
    are those of training and validation, both of which pretraining sees.

    Figures are `distance_ratio`, the median distance of generated images by that of test images: about 1, or far less
    for copies; and `mann_whitney_z`, the paper's test statistic Z_U (its C_T with all of space for one cell), about
    standard normal where both distances have one law, and below -3 where generated images are nearer.

    ``memorisation.png``: generated images, each with the nearest training images by pixels (Euclidean) and by features.

    Args:
        images: generated images, and test images, at most.
        seed: of which they are.
    """

    images: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.images < 2:
            raise UserError(f"memorisation.images {self.images}: there must be at least 2, better 1,000")

    def applies(self, encoder: EvaluatedEncoder) -> bool:
        """Where there are generated images, an encoder for them and real ones."""
        known = None not in (encoder.sample, encoder.encode, encoder.images)
        return known and len(encoder.image_shape) == 3

    def __call__(self, encoder: EvaluatedEncoder) -> dict[str, float]:
        """``memorisation/distance_ratio`` and ``memorisation/mann_whitney_z``.

        Raises:
            UserError: there are no generated images, encoder or real images; generated images or their features are
                not finite or of other shapes; the encoder tells half of the test images from no training image; or
                the picture could not be drawn.
        """
        if not self.applies(encoder):
            raise UserError("memorisation needs generated images, their encoder and real images (C, H, W)")
        bank = tuple(_rows(part, encoder) for part in (encoder.features.train, encoder.features.validation))
        shown, sampled = self._sampled(encoder)
        test = encoder.features.test.features
        chosen = torch.randperm(len(test), generator=torch.Generator().manual_seed(self.seed))[: self.images]
        queries = torch.cat([sampled, test[chosen].to(encoder.device)])
        k = min(NEAREST, sum(map(len, bank)))
        found = search(bank, _rows(FeatureSplit(queries, torch.zeros(len(queries)).long()), encoder), k, ("cosine",))
        similar = found["cosine"].score[:, 0] / queries.norm(dim=1).clamp_min(1e-12)
        distances = (2 - 2 * similar.double()).clamp_min(0).sqrt()  # of vectors of unit length
        self._draw(encoder, shown, _nearest_by_pixels(encoder, shown, k), found["cosine"].row[: len(shown)])
        generated, real = distances.split([len(sampled), len(chosen)])
        if real.median() < LEAST:
            raise UserError("memorisation: the features of half of the test images are those of training images")
        return {
            "memorisation/distance_ratio": (generated.median() / real.median()).item(),
            "memorisation/mann_whitney_z": mann_whitney_z(generated, real),
        }

    def _sampled(self, encoder: EvaluatedEncoder) -> tuple[Tensor, Tensor]:
        """Generated images to be shown ``(s, C, H, W)`` and the features ``(n, d)`` of all, the same everywhere."""
        assert encoder.encode is not None
        train = encoder.features.train.features
        shown = [torch.empty(0, *encoder.image_shape, device=encoder.device)]
        features = [torch.empty(0, train.shape[1], device=encoder.device)]
        for i, images in drawn(encoder, self.images, BATCH_SIZE, self.seed):
            shown += [images[:SHOWN]] if i == 0 else []
            features.append(encoder.encode(images))
        result = gather_rows(torch.cat(features))
        if not result.isfinite().all():
            raise UserError("memorisation: features of generated images are not finite; the method has diverged")
        return gather_rows(torch.cat(shown)), result

    def _draw(self, encoder: EvaluatedEncoder, shown: Tensor, by_pixels: Tensor, by_features: Tensor) -> None:
        """The sheet, from rows ``(s, k)`` of train and validation one after the other. The first process draws it."""
        rows, size = torch.stack([by_pixels, by_features]).cpu().long(), len(encoder.features.train.features)
        known = fetch(encoder, "train", rows[rows < size])
        known |= {size + i: image for i, image in fetch(encoder, "validation", rows[rows >= size] - size).items()}

        def draw() -> str:
            figure = primitives.canvas(1 + 2 * NEAREST, len(shown))
            axes = figure.subplots(1, 3, width_ratios=[1, NEAREST, NEAREST])
            sheets = [torch.stack([torch.stack([known[i] for i in row]) for row in part]) for part in rows.tolist()]
            titles = "generated", "nearest training images by pixels", "by the encoder's features"
            for images, title, ax in zip([small(shown).unsqueeze(1), *sheets], titles, axes, strict=True):
                primitives.show_grid(images, ax)
                ax.set_title(title, fontsize=9)
            try:
                (encoder.folder / "figures").mkdir(parents=True, exist_ok=True)
                primitives.save(figure, encoder.folder / "figures" / "memorisation.png")
            except OSError as error:
                return f"memorisation: cannot draw memorisation.png: {error}"
            return ""

        (problem,) = share_out([draw])
        if problem:
            raise UserError(problem)


def mann_whitney_z(x: Tensor, y: Tensor) -> float:
    """Mann and Whitney's U of values ``(m,)`` against others ``(n,)``, standardised (2004.05675, section 3.1).

    About standard normal where both have the same law; negative where those of x are smaller. Ties count half.
    """
    m, n = len(x), len(y)
    u = sum(float((part > y).sum() + (part == y).sum() / 2) for part in x.unsqueeze(1).split(1024))
    return (u - m * n / 2) / math.sqrt(m * n * (m + n + 1) / 12)


def _rows(part: FeatureSplit, encoder: EvaluatedEncoder) -> Rows:
    return Rows(part.features, part.labels.reshape(len(part.labels), -1).to(encoder.device), encoder.device)


def _nearest_by_pixels(encoder: EvaluatedEncoder, images: Tensor, k: int) -> Tensor:
    """The k nearest rows ``(s, k)`` of train and validation, one after the other, by Euclidean distance of pixels."""
    assert encoder.images is not None
    q = images.flatten(1)
    sizes: dict[Split, int] = {
        "train": len(encoder.features.train.features),
        "validation": len(encoder.features.validation.features),
    }
    best = Neighbours(
        torch.full((len(q), k), -torch.inf, device=q.device),
        torch.full((len(q), k), sum(sizes.values()), dtype=torch.int64, device=q.device),
    )
    start = 0
    for split, size in sizes.items():
        for batch in encoder.images(split):
            x = batch.images.flatten(1)
            score, column = (q @ x.T - x.square().sum(1) / 2).topk(min(k, len(x)))  # falls as |q - x|^2 rises
            row = start + batch.ids.to(q.device)[column]
            best = top_neighbours(torch.cat([best.score, score], 1), torch.cat([best.row, row], 1), k)
        start += size
    score, row = (all_gather(part).movedim(0, 1).flatten(1) for part in best)
    return top_neighbours(score, row, k).row
