"""How steep a network is at each of its inputs: the spectral norm of the Jacobian, as a regulariser.

Everything is per sample; nothing touches another rank, and the mean over samples is what DDP averages.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.autograd import grad

EPSILON = 1e-12


def unit(x: Tensor) -> Tensor:
    """Every sample ``(N, ...)`` divided by its L2 norm over all its dimensions; a zero stays zero."""
    return torch.nn.functional.normalize(x.flatten(1), eps=EPSILON).view_as(x)


def jacobian_norm(
    f: Callable[[Tensor], Tensor], x: Tensor, power_iterations: int = 1, generator: Generator | None = None
) -> tuple[Tensor, Tensor]:
    """f(x), and the spectral norm of the Jacobian of f at each sample estimated by power iterations.

    With u drawn from N(0, I) afresh in every call, each iteration is v = J^T u / ||J^T u||, u = J v / ||J v||, and
    sigma = ||J v|| of the last one. It never exceeds the true norm and reaches it as iterations grow; one iteration
    falls short of it (0.36 to 0.52 of it on the paper's discriminator before training).

    Sigma's gradient treats v as a constant, as the structural GAN's released code does. That code takes a further
    pass back, sigma = <J^T u, v> with u and v constant, which changes neither value nor gradient:
    <J^T u, v> = <u, J v> = ||J v||, and d<u, J v> = <J v, d(J v)> / ||J v|| = d||J v||.

    f runs once, in float32 or what x has above it, autocast or not: J^T w comes from back-propagation, and J v from
    differentiating that, which is linear in w, by w. Batched back-propagation gives per-sample Jacobians because no
    sample may depend on another in f: no batch statistics. Adding the losses of f(x) and of sigma before going
    back makes that one pass, too.

    Args:
        f: ``(N, ...) -> (N, ...)``, twice differentiable by autograd.
        x: inputs ``(N, ...)``.
        power_iterations: at least 1; each costs two backward passes through f.
        generator: draws u; on the device of f(x).

    Returns:
        f(x), and sigma ``(N,)`` >= 0. Both carry gradients to the parameters of f, and to x where it asks for them.
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


def jacobian_penalty(sigma: Tensor, target: float = 1.0) -> Tensor:
    """Mean over samples of (sigma - target)^2, for sigma ``(N,)``.

    Eq. 7 of "Structural Adversarial Objectives for Self-Supervised Representation Learning" (arXiv 2310.00357)
    subtracts the scalar from the matrix inside the norm, ||J - Lip||_2; this is what its released code minimises, with
    Lip = 1, over real and generated samples.
    """
    return (sigma - target).square().mean()
