"""Lower bounds of mutual information from a critic's scores of pairs, in nats, without communication of ranks."""

import math

import torch
from torch import Tensor


def log_mean_exp(x: Tensor) -> Tensor:
    """log of the mean of exp(x) over all elements, without overflow: a scalar."""
    return torch.logsumexp(x.flatten(), 0) - math.log(x.numel())


def donsker_varadhan(joint: Tensor, marginal: Tensor) -> Tensor:
    """E_joint[T] - log E_marginal[exp T]: a scalar (Donsker & Varadhan 1983; MINE, Belghazi et al. 2018, Eq. 10).

    With expectations it is at most the mutual information, for every critic T. With means over few scores it may exceed
    it, since the logarithm of a mean is too small on average. This does not happen if the marginal scores are those of
    all pairs ``(n, n)`` of a batch, including its n joint pairs on the diagonal: since the logarithm is concave, the
    bound is then at most InfoNCE's ``mean_i [T_ii - log mean_j exp T_ij]``, which is at most log n and, for a critic
    that does not depend on those n pairs, on average at most the mutual information (Poole et al. 2019, Eq. 12). The
    score of a critic on its own training pairs may exceed it.

    Args:
        joint: T of joint pairs, of any shape.
        marginal: T of independent pairs, of any shape.
    """
    return joint.mean() - log_mean_exp(marginal)
