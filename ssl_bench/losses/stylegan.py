"""Regularisers of StyleGAN2's networks, per image, in float32 at any precision, without communication of ranks."""

import math
from collections.abc import Callable

import torch
from torch import Tensor


def r1(discriminator: Callable[[Tensor], Tensor], real: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of real images, and the mean squared norm of their gradients with respect to the images.

    Mescheder et al. 2018 (arXiv 1801.04406, Eq. 9); the paper's penalty is gamma / 2 times this mean.

    Args:
        discriminator: images ``(N, ...)`` to logits ``(N,)`` or ``(N, 1)``.
        real: images ``(N, ...)``.

    Returns:
        Logits, and a scalar; both have gradients for the discriminator's parameters.
    """
    # Penalties on gradients are too inaccurate in half precision.
    with torch.autocast(real.device.type, enabled=False):
        real = real.detach().to(torch.promote_types(real.dtype, torch.float32)).requires_grad_()
        logits = discriminator(real)
        (gradient,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    return logits, gradient.square().sum() / len(real)


def path_lengths(synthesis: Callable[[Tensor], Tensor], codes: Tensor) -> Tensor:
    """Lengths ``(N,)`` of J^T y, with y ~ N(0, I) and J the Jacobian of an image with respect to its code.

    Karras et al. 2020 (arXiv 1912.04958, Eq. 4). The expected length measures how far a step in code space changes the
    image. The regulariser makes it equal for all codes and in all directions. As in the released code, y is divided by
    the square root of the number of pixels, and the squared length is averaged over the codes of the layers, so that
    the scale depends on neither number.

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
