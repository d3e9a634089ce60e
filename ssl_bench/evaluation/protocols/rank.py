"""Label-free: RankMe (Garrido 2023, arXiv 2210.02885), alignment, uniformity (Wang & Isola 2020, arXiv 2005.10242)."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ssl_bench.distributed import all_reduce_sum, share
from ssl_bench.errors import UserError
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.features import FeatureSplit
from ssl_bench.evaluation.rows import Rows


def rankme(x: Rows) -> float:
    """Effective rank: the exponential of the entropy of the normalised singular values (2210.02885, equation 1).

    Features are not centred, as there. Singular values are roots of the second moment's eigenvalues, summed in float64.

    Args:
        x: features ``(N, d)``, not all of them zero.

    Returns:
        From 1, all features on one line, to min(N, d), all directions alike.
    """
    moment = torch.zeros(x.dim, x.dim, dtype=torch.float64, device=x.device)
    for block, _ in x.blocks():
        moment += block.double().T @ block.double()
    moment = all_reduce_sum(moment)
    if not moment.any():
        raise UserError(
            f"rank: the features of all {len(x)} images are zero and have no rank: the encoder has collapsed"
        )
    singular = torch.linalg.eigvalsh(moment).clamp_min(0).sqrt()
    p = singular / singular.sum() + 1e-7
    return float((-p * p.log()).sum().exp())


def uniformity(x: Rows, t: float = 2) -> float:
    """Logarithm of the mean of exp(-t |x_i - x_j|^2) over all pairs i != j of unit features (2005.10242, section 4).

    Args:
        x: features ``(N, d)``, N at least 2; they are brought to unit length here.
        t: what squared distances are multiplied by.

    Returns:
        At most 0, all features alike; the lower the more evenly they lie on the sphere.
    """
    if len(x) < 2:
        raise UserError(f"rank: uniformity needs 2 or more test images and there is {len(x)}; leave rank out")
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    every = x.slices()
    for i in share(len(every)):
        block = F.normalize(x.take(every[i]))
        for step in range(len(every) // 2 + 1):  # around a circle: each pair of blocks once, each process as many
            j = (i + step) % len(every)
            if 2 * step == len(every) and j < i:
                continue
            # Unit vectors: |x - y|^2 = 2 - 2 x.y, and no term is over 1.
            near = (2 * t * (block @ F.normalize(x.take(every[j])).T - 1)).exp()
            total += (near.triu(1) if i == j else near).sum(dtype=torch.float64)
    return math.log(float(all_reduce_sum(total)) / (len(x) * (len(x) - 1) / 2))


def alignment(x: Rows, y: Rows) -> float:
    """Mean squared distance between unit features of two views of the same images (2005.10242, alpha = 2).

    Args:
        x: features ``(N, d)`` of one view; they are brought to unit length here.
        y: features ``(N, d)`` of the other view, in the same order.

    Returns:
        From 0, views do not matter, to 4.
    """
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    for rows in x.mine():
        total += (F.normalize(x.take(rows)) - F.normalize(y.take(rows))).square().sum(dtype=torch.float64)
    return float(all_reduce_sum(total)) / len(x)


@dataclass(frozen=True)
class Rank:
    """RankMe and uniformity of all test features, labelled or not, and alignment where there are augmented passes."""

    def applies(self, encoder: EvaluatedEncoder) -> bool:
        """It always does."""
        return True

    def __call__(self, encoder: EvaluatedEncoder) -> dict[str, float]:
        """``rank/rankme``, ``rank/uniformity`` and ``rank/alignment``.

        Alignment is between the first two augmented passes, or between the only one and the un-augmented features.
        """

        def rows(split: FeatureSplit) -> Rows:
            return Rows(split.features, split.labels.reshape(len(split.labels), -1).to(encoder.device), encoder.device)

        test = rows(encoder.features.test)
        figures = {"rank/rankme": rankme(test), "rank/uniformity": uniformity(test)}
        views = [*(rows(one.test) for one in encoder.augmented[:2]), test]
        if len(views) > 1:
            figures["rank/alignment"] = alignment(views[0], views[1])
        return figures
