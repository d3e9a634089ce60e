"""Regularisers of StyleGAN2's networks, per image, in float32 at any precision, without communication of ranks."""

import math
from collections.abc import Callable

import torch
from torch import Tensor


def r1(discriminator: Callable[[Tensor], Tensor], real: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of real images, and the mean of their squared gradients' norms.

    Mescheder et al. 2018 (arXiv 1801.04406, Eq. 9), whose penalty is gamma / 2 times that.

    Args:
        discriminator: images ``(N, ...)`` to logits ``(N,)`` or ``(N, 1)``.
        real: images ``(N, ...)``.

    Returns:
        Logits, and a scalar; both carry gradients to the discriminator's parameters.
    """
    # Penalties on gradients are too inaccurate in half precision.
    with torch.autocast(real.device.type, enabled=False):
        real = real.detach().to(torch.promote_types(real.dtype, torch.float32)).requires_grad_()
        logits = discriminator(real)
        (gradient,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    return logits, gradient.square().sum() / len(real)


def path_lengths(synthesis: Callable[[Tensor], Tensor], codes: Tensor) -> Tensor:
    """Length of J^T y for each image, y ~ N(0, I) and J the Jacobian of its synthesis by its code, ``(N,)``.

    Karras et al. 2020 (arXiv 1912.04958, Eq. 4): its expectation measures how far a step in code space moves an image,
    and the regulariser makes it equal everywhere and in every direction. Here y is divided by the square
    root of the number of pixels and the squared length is the mean over layers' codes, so that neither number changes
    the scale, as released.

    Args:
        synthesis: codes to images ``(N, C, H, W)``.
        codes: ``(N, n_latent, style_dim)``, with or without gradients.
    """
    with torch.autocast(codes.device.type, enabled=False):
        codes = codes if codes.requires_grad else codes.detach().requires_grad_()
        images = synthesis(codes)
        y = torch.randn_like(images) / math.sqrt(images.shape[2] * images.shape[3])
        (gradient,) = torch.autograd.grad((images * y).sum(), codes, create_graph=True)
    return gradient.square().sum(2).mean(1).sqrt()
