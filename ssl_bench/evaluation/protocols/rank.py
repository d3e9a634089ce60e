"""RankMe (Garrido et al. 2023, arXiv 2210.02885), uniformity and alignment (Wang & Isola 2020, arXiv 2005.10242)."""

import math
from dataclasses import dataclass

import torch

from ssl_bench.distributed import all_reduce_sum, share
from ssl_bench.errors import UserError
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.points import largest_magnitudes, power_of_two, unit_vectors
from ssl_bench.evaluation.rows import Rows
from ssl_bench.evaluation.span import gram_matrix


def rankme(x: Rows) -> float:
    """Effective rank: exponential of the entropy of the normalised singular values (2210.02885, Eq. 1).

    Features are not centred, as in the paper. Singular values are the square roots of the eigenvalues of the second
    moment, which is summed in float64, or of the Gram matrix, if that is smaller. There are min(N, d) of them. Features
    are divided by a power of two, so that no square is rounded to 0.

    Args:
        x: features ``(N, d)``, not all zero.

    Returns:
        Effective rank, from 1, if all features lie on one line, to min(N, d), if all directions have equal weight.
    """
    x = x.exact()
    unit = power_of_two(largest_magnitudes(x).max())
    if len(x) < x.dim:
        moment = gram_matrix((x,), lambda block: block / unit)
    else:
        moment = torch.zeros(x.dim, x.dim, dtype=torch.float64, device=x.device)
        for block, _ in x.blocks():
            points = block.double() / unit
            moment += points.T @ points
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
        x: features ``(N, d)`` of N >= 2 images; they are normalised to length 1 here.
        t: factor of the squared distances.

    Returns:
        Uniformity; 0 if all features are equal, and lower if they are spread more evenly over the sphere.
    """
    if len(x) < 2:
        raise UserError(f"rank: uniformity needs 2 or more test images, got {len(x)}; remove rank from the protocols")
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    every = x.slices()
    for i in share(len(every)):
        block = unit_vectors(x.take(every[i])).float()
        for step in range(len(every) // 2 + 1):  # cyclic, so that every process has the same number of pairs
            j = (i + step) % len(every)
            if 2 * step == len(every) and j < i:
                continue
            # For unit vectors |x - y|^2 = 2 - 2 x.y, and no term exceeds 1.
            near = (2 * t * (block @ unit_vectors(x.take(every[j])).float().T - 1)).exp()
            total += (near.triu(1) if i == j else near).sum(dtype=torch.float64)
    return math.log(float(all_reduce_sum(total)) / (len(x) * (len(x) - 1) / 2))


def alignment(x: Rows, y: Rows) -> float:
    """Mean squared distance between unit features of two views of the same images (2005.10242, alpha = 2).

    Args:
        x: features ``(N, d)`` of one view; they are normalised to length 1 here.
        y: features ``(N, d)`` of the other view, in the same order.

    Returns:
        Alignment, from 0, if features do not depend on the view, to 4.
    """
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    for rows in x.local_slices():
        total += (unit_vectors(x.take(rows)) - unit_vectors(y.take(rows))).square().sum()
    return float(all_reduce_sum(total)) / len(x)


@dataclass(frozen=True)
class Rank:
    """RankMe, uniformity and alignment of the features of all test images; needs no labels."""

    def runs_by_default(self, encoder: EvaluatedEncoder) -> bool:
        """True."""
        return True

    def __call__(self, encoder: EvaluatedEncoder) -> dict[str, float]:
        """``rank/rankme``, ``rank/uniformity`` and, if there are augmented passes, ``rank/alignment``.

        Alignment compares the first two augmented passes. If there is only one pass, it is compared with the features
        of the images without augmentation.
        """
        test = Rows.of(encoder.features.test, encoder.device).exact()
        metrics = {"rank/rankme": rankme(test), "rank/uniformity": uniformity(test)}
        views = [*(Rows.of(one.test, encoder.device).exact() for one in encoder.augmented[:2]), test]
        if len(views) > 1:
            metrics["rank/alignment"] = alignment(views[0], views[1])
        return metrics
