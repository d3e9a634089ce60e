"""Lower bounds of mutual information from a critic's scores of pairs, in nats, without communication of ranks."""

import math

import torch
from torch import Tensor


def log_mean_exp(x: Tensor) -> Tensor:
    """log of the mean of exp(x) over all elements, without overflow: a scalar."""
    return torch.logsumexp(x.flatten(), 0) - math.log(x.numel())


def donsker_varadhan(joint: Tensor, marginal: Tensor) -> Tensor:
    """E_joint[T] - log E_marginal[exp T]: a scalar (Donsker & Varadhan 1983; MINE, Belghazi et al. 2018, Eq. 10).

    With exact expectations, the bound is at most the mutual information for every critic T. With means over few scores
    it may exceed the mutual information, because the logarithm of a mean is too small on average.

    The marginal scores can be those of all pairs ``(n, n)`` of a batch, with its n joint pairs on the diagonal. Since
    the logarithm is concave, the bound is then at most InfoNCE's ``mean_i [T_ii - log mean_j exp T_ij]``. InfoNCE is at
    most log n. For a critic that does not depend on these n pairs, InfoNCE is on average at most the mutual information
    (Poole et al. 2019, Eq. 12). On the pairs that a critic was trained on, it may exceed the mutual information.

    Args:
        joint: scores T of joint pairs, of any shape.
        marginal: scores T of independent pairs, of any shape.
    """
    return joint.mean() - log_mean_exp(marginal)
