"""Errors of reconstructed images: MSE, PSNR and SSIM."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from ssl_bench.distributed import all_reduce_sum
from ssl_bench.errors import UserError
from ssl_bench.evaluation.encoder import EvaluatedEncoder

WINDOW, SIGMA = 11, 1.5
MIN_MSE = 1e-10
"""Lower bound of the MSE in the PSNR, so that a perfect reconstruction has 100 dB and the mean is finite."""


def mean_errors(pairs: Iterable[tuple[Tensor, Tensor]], encoder: EvaluatedEncoder) -> dict[str, float]:
    """Mean errors over the images of all processes.

    Args:
        pairs: this process's batches of images ``(n, *shape)`` and their reconstructions.
        encoder: the encoder under evaluation, for the shape of the images and the device.

    Raises:
        UserError: reconstructions have another shape or are not finite.
    """
    shape = encoder.image_shape
    names = list(image_errors(*torch.zeros(2, 1, *shape)))
    sums = torch.zeros(len(names) + 2, dtype=torch.float64, device=encoder.device)  # then images, then bad images
    with torch.no_grad():
        for images, reconstructed in pairs:
            sums[-2] += len(images)
            if reconstructed.shape != images.shape:
                sums[-1] += len(images)
                continue
            sums[-1] += (~reconstructed.flatten(1).isfinite()).any(1).sum()
            values = image_errors(images, reconstructed)
            sums[: len(names)] += torch.stack([values[name].sum(dtype=torch.float64) for name in names])
    *totals, count, bad = all_reduce_sum(sums).tolist()
    if bad:
        raise UserError(
            f"reconstructions of {bad:.0f} of {count:.0f} test images are not finite or not of shape {shape}; "
            "the method has diverged, or its reconstruct is wrong"
        )
    return {name: total / count for name, total in zip(names, totals, strict=True)}


def image_errors(images: Tensor, reconstructed: Tensor) -> dict[str, Tensor]:
    """Errors of each image: ``mse``, ``psnr`` in dB and, if the image is at least 11 x 11, ``ssim``.

    Args:
        images: ``(n, *shape)`` in [0, 1].
        reconstructed: their reconstructions, of the same shape.

    Returns:
        Errors ``(n,)`` by name; only ``mse`` for points.
    """
    mse = (reconstructed - images).square().flatten(1).mean(1)
    values = {"mse": mse}
    if images.ndim == 4:
        values["psnr"] = -10 * mse.clamp_min(MIN_MSE).log10()
        if min(images.shape[2:]) >= WINDOW:
            values["ssim"] = ssim(images, reconstructed)
    return values


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004, Eq. 13, K = (0.01, 0.03)).

    The window is an 11 x 11 Gaussian with sigma 1.5. The mean is over channels and over the positions at which the
    window lies inside the image; torchmetrics also includes positions with reflected pixels at the border.

    Args:
        x: images ``(N, C, H, W)`` in [0, 1], at least 11 x 11.
        y: images of the same shape.

    Returns:
        Similarities ``(N,)``.
    """
    taps = torch.exp(-(torch.arange(WINDOW, device=x.device) - WINDOW // 2).square() / (2 * SIGMA**2))
    taps = taps / taps.sum()
    parts = torch.stack([x, y, x * x, y * y, x * y]).flatten(0, 2).unsqueeze(1)
    local = conv2d(conv2d(parts, taps.view(1, 1, 1, -1)), taps.view(1, 1, -1, 1))
    mx, my, xx, yy, xy = local.view(5, *x.shape[:2], *local.shape[2:])
    c1, c2 = 0.01**2, 0.03**2
    similar = (2 * mx * my + c1) * (2 * (xy - mx * my) + c2)
    result: Tensor = similar / ((mx**2 + my**2 + c1) * (xx - mx**2 + yy - my**2 + c2))
    return result.flatten(1).mean(1)
