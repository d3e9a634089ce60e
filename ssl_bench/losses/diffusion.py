"""Denoising diffusion: the noising of images, the loss, and one step of sampling.

Ho et al. 2020, arXiv 2006.11239. Index t counts from 0, as in released code: index t is step t + 1 of the paper.
"""

import torch
from torch import Tensor

from ssl_bench.ranges import PositiveFloat, PositiveInt, check_ranges


@check_ranges
def linear_schedule(steps: PositiveInt = 1000, first: PositiveFloat = 1e-4, last: PositiveFloat = 0.02) -> Tensor:
    """The product of 1 - beta up to each t, alpha_bar ``(steps,)`` in float64, where beta increases linearly."""
    return torch.cumprod(1 - torch.linspace(first, last, steps, dtype=torch.float64), 0)


def per_image(values: Tensor, t: Tensor, x: Tensor) -> Tensor:
    """Values ``(steps,)`` at indices t ``(N,)``, in the type of x and shaped to multiply images x ``(N, ...)``."""
    return values[t].to(x.dtype).view(-1, *[1] * (x.ndim - 1))


def diffuse(x_0: Tensor, t: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """Sample x_t from q(x_t | x_0) (Eq. 4): ``sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) noise``.

    Args:
        x_0: images ``(N, ...)``.
        t: indices int64 ``(N,)``.
        noise: standard normal, of the shape of x_0.
        alpha_bar: see `linear_schedule`.
    """
    return per_image(alpha_bar.sqrt(), t, x_0) * x_0 + per_image((1 - alpha_bar).sqrt(), t, x_0) * noise


def denoise(x_t: Tensor, t: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """The image x_0 for which `diffuse` gives x_t with this noise (Eq. 15)."""
    return (x_t - per_image((1 - alpha_bar).sqrt(), t, x_t) * noise) / per_image(alpha_bar.sqrt(), t, x_t)


def ancestral_step(x_t: Tensor, t: int, x_0: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """Sample x_{t-1} from q(x_{t-1} | x_t, x_0) with the variance beta_t (Eq. 7; section 3.2); x_0 itself if t is 0.

    Args:
        x_t: noisy images ``(N, ...)``.
        t: the index.
        x_0: predicted images of the same shape.
        noise: standard normal, of the same shape.
        alpha_bar: see `linear_schedule`.
    """
    if t == 0:
        return x_0
    now, before = alpha_bar[t].item(), alpha_bar[t - 1].item()
    beta = 1 - now / before
    mean = (before**0.5 * beta * x_0 + (now / before) ** 0.5 * (1 - before) * x_t) / (1 - now)
    sample: Tensor = mean + beta**0.5 * noise
    return sample


def ddim_step(x_t: Tensor, t: int, before: int, x_0: Tensor, alpha_bar: Tensor) -> Tensor:
    """The next sample of DDIM without noise (Song et al. 2021, arXiv 2010.02502, Eq. 12, sigma 0).

    Args:
        x_t: noisy images ``(N, ...)``.
        t: the index.
        before: the index of the next sample, below t; -1 for the image itself.
        x_0: predicted images of the same shape.
        alpha_bar: see `linear_schedule`.
    """
    if before < 0:
        return x_0
    now, then = alpha_bar[t].item(), alpha_bar[before].item()
    noise = (x_t - now**0.5 * x_0) / (1 - now) ** 0.5
    sample: Tensor = then**0.5 * x_0 + (1 - then) ** 0.5 * noise
    return sample
