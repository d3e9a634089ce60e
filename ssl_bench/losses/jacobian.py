"""Spectral norm of a network's Jacobian at each input, as a regulariser.

Everything is per sample, without communication between ranks; DDP averages the mean over samples.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.autograd import grad

from ssl_bench.ranges import NonNegativeFloat, PositiveInt, check_ranges

EPSILON = 1e-12


def unit(x: Tensor) -> Tensor:
    """Every sample ``(N, ...)`` divided by its L2 norm over all its dimensions; zeros stay zeros."""
    return torch.nn.functional.normalize(x.flatten(1), eps=EPSILON).view_as(x)


@check_ranges
def jacobian_norm(
    f: Callable[[Tensor], Tensor], x: Tensor, power_iterations: PositiveInt = 1, generator: Generator | None = None
) -> tuple[Tensor, Tensor]:
    """f(x), and the spectral norm of the Jacobian of f at each sample, estimated by power iterations.

    Every call samples a new u ~ N(0, I). Each iteration computes v = J^T u / ||J^T u|| and u = J v / ||J v||; sigma is
    ||J v|| of the last iteration. Sigma never exceeds the true norm and converges to it. After one iteration, sigma is
    0.36 to 0.52 times the norm for the structural GAN's discriminator before training.

    The gradient of sigma treats v as a constant, as the structural GAN's released code does. The released code computes
    sigma = <J^T u, v> with constant u and v, in one more backward pass. Value and gradient are the same:
    <J^T u, v> = <u, J v> = ||J v||, and d<u, J v> = <J v, d(J v)> / ||J v|| = d||J v||.

    f runs once, in at least float32 even under autocast. Back-propagation gives J^T w, which is linear in w; its
    derivative with respect to w gives J v. Samples must not interact in f, for example by batch statistics, because
    batched back-propagation would then not give per-sample Jacobians. If the losses of f(x) and of sigma are added
    before back-propagation, a single pass is enough.

    Args:
        f: ``(N, ...) -> (N, ...)``, twice differentiable by autograd.
        x: inputs ``(N, ...)``.
        power_iterations: number of power iterations; each takes two backward passes through f.
        generator: random number generator for u, on the device of f(x).

    Returns:
        f(x), and sigma ``(N,)`` >= 0. Both have gradients for the parameters of f, and for x if it requires them.
    """
    with torch.autocast(x.device.type, enabled=False):
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        x = x if x.requires_grad else x.detach().requires_grad_()
        y = f(x)
        u = torch.randn(y.shape, generator=generator, dtype=y.dtype, device=y.device)
        w = u.clone().requires_grad_()
        (pulled,) = grad(y, x, w, create_graph=True)  # J^T w
        v = unit(pulled.detach())
        for _ in range(power_iterations - 1):
            (pushed,) = grad(pulled, w, v, retain_graph=True)
            (back,) = grad(y, x, unit(pushed), retain_graph=True)
            v = unit(back)
        (pushed,) = grad(pulled, w, v, create_graph=True)  # J v
        return y, torch.linalg.vector_norm(pushed.flatten(1), dim=1)


@check_ranges
def jacobian_penalty(sigma: Tensor, target: NonNegativeFloat = 1.0) -> Tensor:
    """Mean over samples of (sigma - target)^2, for sigma ``(N,)``.

    This is the penalty in the released code of "Structural Adversarial Objectives for Self-Supervised Representation
    Learning" (arXiv 2310.00357), with target Lip = 1, over real and generated samples. Eq. 7 of the paper prints
    ||J - Lip||_2, which subtracts a scalar from a matrix.
    """
    return (sigma - target).square().mean()
