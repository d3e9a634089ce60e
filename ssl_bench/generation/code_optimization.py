"""GAN inversion by optimisation: codes that reproduce given images, optimised for many images at a time."""

from typing import NamedTuple

import torch
from torch import Tensor

from ssl_bench.errors import UserError
from ssl_bench.evaluation.reconstruction_errors import image_errors
from ssl_bench.generation.settings import InvertSettings
from ssl_bench.methods.inversion import InDomainInversion
from ssl_bench.methods.stylegan2 import StyleGAN2
from ssl_bench.networks.perceptual import PerceptualLoss

CHECK_INTERVAL = 50
"""Steps between two checks for non-finite codes; each check waits for the device."""


def perceptual_weight(settings: InvertSettings, method: InDomainInversion | StyleGAN2) -> float:
    """Return the weight of the perceptual distance, by default that of the method's training (0 without the term)."""
    if settings.perceptual_weight is not None:
        return settings.perceptual_weight
    return method.perceptual_weight if isinstance(method, InDomainInversion) and method.perceptual else 0.0


class OptimizedCodes(NamedTuple):
    """Result of `optimize_codes`.

    Attributes:
        codes: truncated codes ``(B, n_latent, style_dim)``, float32; `synthesize` maps them to the reconstructions.
        images: the reconstructions ``(B, C, H, H)`` in [0, 1].
        metrics: metrics by name, ``(B,)`` each: ``mse``, ``psnr`` and, for images of at least 11 px, ``ssim`` of the
            reconstructions; ``start_mse`` and so on for the reconstructions from the initial codes.
    """

    codes: Tensor
    images: Tensor
    metrics: dict[str, Tensor]


def optimize_codes(
    method: InDomainInversion | StyleGAN2,
    images: Tensor,
    settings: InvertSettings,
    perceptual: PerceptualLoss | None = None,
    autocast: torch.dtype | None = None,
) -> OptimizedCodes:
    """Optimise, for each image, the code from which the generator reconstructs it, starting from the encoder's code.

    The variables are codes before truncation. The loss of an image is the sum of three terms: the mean squared error of
    pixels in [-1, 1], the weighted perceptual distance, and the weighted latent term. The latent term is a mean squared
    error of the encoder's codes of the reconstruction. They are compared with the encoder's codes of the image
    ("Constructive Assimilation"), or with the optimised codes (Zhu et al. 2020, Eq. 5), which keeps reconstructions in
    the encoder's domain. Adam is elementwise and the loss is summed over images, so that a result does not depend on
    the other images of the batch. The codes after the last step are returned. According to appendix C of "Constructive
    Assimilation", the loss is that of the encoder, including the adversarial term; the paper's released code has no
    adversarial term.

    Args:
        method: an inversion method, or StyleGAN2. StyleGAN2 has no encoder: each image starts from the mean code, codes
            are not truncated and there is no latent term.
        images: images, float ``(B, C, H, H)`` in [0, 1], on the method's device.
        settings: see `InvertSettings`.
        perceptual: the perceptual distance; by default that of an inversion method.
        autocast: precision of the networks, float32 by default; codes are float32.

    Raises:
        UserError: codes are non-finite.
    """
    encoder = method if isinstance(method, InDomainInversion) else None
    perceptual = perceptual or (encoder.perceptual if encoder else None)
    weight, latent_weight = perceptual_weight(settings, method), settings.latent_weight
    mean, scale = method.mean_code(), encoder.truncation if encoder else 1.0

    def synthesize(offsets: Tensor) -> Tensor:
        return method.synthesize(mean + scale * offsets)

    with torch.no_grad(), _precision(images, autocast):
        start = encoder.offsets(2 * images - 1) if encoder else mean.new_zeros(len(images), method.n_latent, len(mean))
        first = synthesize(start).clamp(0, 1)
        features = perceptual.features(images) if perceptual and weight else []
    offsets = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([offsets], lr=settings.lr)
    for step in range(settings.steps):
        with _precision(images, autocast):
            y = synthesize(offsets)
            loss = 4 * (y - images).square().flatten(1).mean(1)  # of pixels in [-1, 1]
            if perceptual and weight:
                loss = loss + weight * perceptual.distance(y, features)
            if encoder and latent_weight:
                error = encoder.offsets(2 * y - 1) - (start if settings.compared == "start" else offsets)
                loss = loss + latent_weight * error.square().flatten(1).mean(1)
        (offsets.grad,) = torch.autograd.grad(loss.sum(), [offsets])  # and no gradients of weights
        optimizer.step()
        if (step + 1) % CHECK_INTERVAL == 0 or step + 1 == settings.steps:
            refuse_non_finite(offsets, step + 1, settings.lr)
    with torch.no_grad(), _precision(images, autocast):
        last = synthesize(offsets).clamp(0, 1)
    metrics = image_errors(images, last) | {f"start_{k}": v for k, v in image_errors(images, first).items()}
    return OptimizedCodes(mean + scale * offsets.detach(), last, metrics)


def refuse_non_finite(codes: Tensor, steps: int, lr: float) -> None:
    """Check that codes ``(B, n_latent, style_dim)`` are finite.

    Raises:
        UserError: a code is not finite.
    """
    if not codes.isfinite().all():
        raise UserError(f"inversion: codes are not finite after {steps} steps of {lr}: give a lower learning rate")


def _precision(images: Tensor, autocast: torch.dtype | None) -> torch.autocast:
    return torch.autocast(images.device.type, dtype=autocast, enabled=autocast is not None)
