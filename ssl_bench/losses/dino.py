"""DINO: cross-entropy of a student's and a teacher's distributions over prototypes, and the centre of the teacher."""

import torch
from torch import Tensor

from ssl_bench.distributed import all_reduce_sum, world_size
from ssl_bench.ranges import PositiveFloat, check_ranges


@check_ranges
def teacher_distribution(t: Tensor, c: Tensor, tau_t: PositiveFloat) -> Tensor:
    """P_t, the softmax of the centred and sharpened outputs (Caron et al. 2021, arXiv 2104.14294, Eq. 1), no gradient.

    Args:
        t: outputs of the teacher, ``(..., K)``.
        c: the centre C, ``(K,)``.
        tau_t: temperature of the teacher.
    """
    return ((t.detach() - c) / tau_t).softmax(-1)


@check_ranges
def dino(s: Tensor, p_t: Tensor, tau_s: PositiveFloat) -> Tensor:
    """H(P_t, P_s) of every view of the teacher with every *other* view of the student (Eq. 3); a scalar.

    The paper's equation is a sum over the pairs of views. As in its released code, this is the mean over the pairs, and
    over this process's images. There is no communication between processes.

    Args:
        s: outputs of the student for all V views, the teacher's views first, ``(V, N, K)``.
        p_t: distributions of the teacher for the first G views, ``(G, N, K)``, G <= V, V > 1.
        tau_s: temperature of the student.
    """
    log_p_s = (s / tau_s).log_softmax(2)
    pairs = [(view, target) for view in range(len(s)) for target in range(len(p_t)) if view != target]
    return -torch.stack([(p_t[target] * log_p_s[view]).sum(1).mean() for view, target in pairs]).mean()


def mean_output(t: Tensor) -> Tensor:
    """Mean ``(K,)`` of the teacher's outputs ``(G, N, K)`` over views and the images of all processes (Eq. 4).

    The centre is an exponential moving average of this mean. Every process must have the same number of images.
    """
    return all_reduce_sum(t.mean((0, 1))) / world_size()
