"""MSE, PSNR and SSIM (Wang et al. 2004) of reconstructed images, as reported for SimVAE (arXiv 2402.01399)."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from ssl_bench.distributed import all_reduce_sum
from ssl_bench.errors import UserError
from ssl_bench.evaluation.encoder import EvaluatedEncoder

WINDOW, SIGMA = 11, 1.5
LEAST_MSE = 1e-10
"""Of one image, for its PSNR: a perfect reconstruction counts 100 dB and does not make the mean infinite."""


@dataclass(frozen=True)
class Reconstruction:
    """A decoder's reconstructions of all test images, un-augmented, in [0, 1].

    Figures are means over images of what is computed for each image: `mse` over channels and pixels, `psnr` in dB,
    `-10 log10` of its mse (so not that of the mean mse), and `ssim`, left out for images smaller than its window.
    For points there is only `mse`.
    """

    def applies(self, encoder: EvaluatedEncoder) -> bool:
        """Where there is a decoder."""
        return encoder.reconstruct is not None and encoder.images is not None

    def __call__(self, encoder: EvaluatedEncoder) -> dict[str, float]:
        """Figures over the test split.

        Raises:
            UserError: there is no decoder, or it gives other shapes or values that are not finite.
        """
        if encoder.reconstruct is None or encoder.images is None:
            raise UserError("there is no decoder to reconstruct images with; posthoc_reconstruction trains one")
        pairs = ((batch.images, encoder.reconstruct(batch.images)) for batch in encoder.images("test"))
        return {f"reconstruction/{name}": value for name, value in errors(pairs, encoder).items()}


def errors(pairs: Iterable[tuple[Tensor, Tensor]], encoder: EvaluatedEncoder) -> dict[str, float]:
    """Mean errors of this process's batches of images ``(n, *shape)`` and their reconstructions; over all processes.

    Raises:
        UserError: reconstructions have other shapes or are not finite.
    """
    shape = encoder.image_shape
    names = list(errors_of_each(*torch.zeros(2, 1, *shape)))
    sums = torch.zeros(len(names) + 2, dtype=torch.float64, device=encoder.device)  # then images, then bad images
    with torch.no_grad():
        for images, reconstructed in pairs:
            sums[-2] += len(images)
            if reconstructed.shape != images.shape:
                sums[-1] += len(images)
                continue
            sums[-1] += (~reconstructed.flatten(1).isfinite()).any(1).sum()
            values = errors_of_each(images, reconstructed)
            sums[: len(names)] += torch.stack([values[name].sum(dtype=torch.float64) for name in names])
    *totals, count, bad = all_reduce_sum(sums).tolist()
    if bad:
        raise UserError(
            f"reconstructions of {bad:.0f} of {count:.0f} test images are not finite or not of shape {shape}; "
            "the method has diverged, or its reconstruct is wrong"
        )
    return {name: total / count for name, total in zip(names, totals, strict=True)}


def errors_of_each(images: Tensor, reconstructed: Tensor) -> dict[str, Tensor]:
    """Errors ``(n,)`` by name of n images ``(n, *shape)`` and their reconstructions."""
    mse = (reconstructed - images).square().flatten(1).mean(1)
    values = {"mse": mse}
    if images.ndim == 4:
        values["psnr"] = -10 * mse.clamp_min(LEAST_MSE).log10()
        if min(images.shape[2:]) >= WINDOW:
            values["ssim"] = ssim(images, reconstructed)
    return values


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity of images ``(N, C, H, W)`` in [0, 1], at least 11 x 11: ``(N,)``.

    Wang et al. 2004, equation 13, K = (0.01, 0.03), by a Gaussian window of 11 x 11 with sigma 1.5; the mean over
    channels and the places where the window fits whole (torchmetrics also counts a border of reflected images).
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
