"""Lower bounds of mutual information from a critic's scores of pairs, in nats. None touches another rank."""

import math

import torch
from torch import Tensor


def log_mean_exp(x: Tensor) -> Tensor:
    """log of the mean of exp(x) over all elements, without overflow: a scalar."""
    return torch.logsumexp(x.flatten(), 0) - math.log(x.numel())


def donsker_varadhan(joint: Tensor, marginal: Tensor) -> Tensor:
    """E_joint[T] - log E_marginal[exp T]: a scalar (Donsker & Varadhan 1983; MINE, Belghazi et al. 2018, Eq. 10).

    With expectations it is at most the mutual information, whatever the critic T. With means over few scores it may
    exceed it, since the logarithm of a mean is too small on average. Not so if the marginal scores are those of all
    pairs ``(n, n)`` of a batch, its n joint ones on the diagonal included: it is then at most InfoNCE's
    ``mean_i [T_ii - log mean_j exp T_ij]``, the logarithm being concave, which is never more than log n and, for a
    critic that does not depend on those n pairs, on average at most the mutual information (Poole et al. 2019, Eq. 12).
    A critic scored on the pairs it was trained on may exceed it.

    Args:
        joint: T of pairs that belong together, of any shape.
        marginal: T of pairs whose halves are independent, of any shape.
    """
    return joint.mean() - log_mean_exp(marginal)
