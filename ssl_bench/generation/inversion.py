"""Codes of images by optimisation, many images at a time."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ssl_bench.errors import UserError
from ssl_bench.evaluation.protocols.reconstruction import errors_of_each
from ssl_bench.methods.inversion import InDomainInversion, PerceptualLoss
from ssl_bench.methods.stylegan2 import StyleGAN2

CHECKED_EVERY = 50
"""Steps from one look at whether codes are finite, which waits for the device, to the next."""


@dataclass(frozen=True)
class Invert:
    """How codes are optimised.

    Args:
        steps: of Adam, for each image; 0 leaves the codes as they start.
        lr: its learning rate.
        latent_weight: of the distance of the encoder's codes of the reconstruction.
        compared: what from: the codes that it started from, or those that are optimised.
        perceptual_weight: of the perceptual distance; by default that of the run.
    """

    steps: int = 1000
    lr: float = 0.01
    latent_weight: float = 2.0
    compared: Literal["start", "current"] = "start"
    perceptual_weight: float | None = None

    def __post_init__(self) -> None:
        weights = (self.latent_weight, self.perceptual_weight or 0)
        if not (self.steps >= 0 and 0 < self.lr < math.inf and all(0 <= weight < math.inf for weight in weights)):
            raise UserError(
                f"invert: steps {self.steps}, lr {self.lr}, latent_weight {self.latent_weight}, perceptual_weight "
                f"{self.perceptual_weight}: give steps of 0 or more, lr above 0 and weights of 0 or more"
            )

    def perceptual_weight_of(self, method: InDomainInversion | StyleGAN2) -> float:
        """The weight, where it is left open that of the method's training; 0 of one without a perceptual distance."""
        if self.perceptual_weight is not None:
            return self.perceptual_weight
        return method.weights["perceptual"] if isinstance(method, InDomainInversion) and method.perceptual else 0.0


class Inversion(NamedTuple):
    """What `invert` found.

    Attributes:
        codes: ``(B, n_latent, style_dim)`` float32, which `synthesize` draws the reconstructions from: truncated.
        images: the reconstructions ``(B, C, H, H)`` in [0, 1].
        figures: per image ``(B,)``: `mse`, `psnr` and, of 11 px or more, `ssim` of the reconstructions, each also of
            those that the optimisation started from, as ``start_mse`` and so on.
    """

    codes: Tensor
    images: Tensor
    figures: dict[str, Tensor]


def invert(
    method: InDomainInversion | StyleGAN2,
    images: Tensor,
    settings: Invert,
    perceptual: PerceptualLoss | None = None,
    autocast: torch.dtype | None = None,
) -> Inversion:
    """Codes from which the generator draws images, each optimised by itself from what the encoder says of it.

    Optimised are codes before truncation. Minimises, per image, the mean squared error of pixels in [-1, 1], the
    perceptual distance, by its weight, and `latent_weight` times the mean squared error of what the encoder says of the
    reconstruction, from what it said of the image (as "Constructive Assimilation" has it) or from the codes that are
    optimised (Zhu et al. 2020, Eq. 5: reconstructions stay in the encoder's domain). Adam works element by element and
    the loss is a sum over images, so that what is found does not depend on which images are optimised together. The
    last iterate is kept.
    Appendix C of the paper says that the loss is the encoder's, adversarial term included; its code leaves that out.

    Args:
        method: an inversion method; or a generator's, without an encoder: then each image starts from the mean code,
            nothing is truncated and there is no latent term.
        images: float ``(B, C, H, H)`` in [0, 1], on the method's device.
        settings: see `Invert`.
        perceptual: the distance; none takes that of an inversion method.
        autocast: precision of the networks, float32 by default; codes are float32.

    Raises:
        UserError: codes are no longer finite.
    """
    encoder = method if isinstance(method, InDomainInversion) else None
    perceptual = perceptual or (encoder.perceptual if encoder else None)
    perceptual_weight, latent_weight = settings.perceptual_weight_of(method), settings.latent_weight
    mean, scale = method.mean_code(), encoder.truncation if encoder else 1.0

    def draw(offsets: Tensor) -> Tensor:
        return method.synthesize(mean + scale * offsets)

    with torch.no_grad(), _precision(images, autocast):
        start = encoder.offsets(2 * images - 1) if encoder else mean.new_zeros(len(images), method.n_latent, len(mean))
        first = draw(start).clamp(0, 1)
        features = perceptual.features(images) if perceptual and perceptual_weight else []
    offsets = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([offsets], lr=settings.lr)
    for step in range(settings.steps):
        with _precision(images, autocast):
            y = draw(offsets)
            loss = 4 * (y - images).square().flatten(1).mean(1)  # of pixels in [-1, 1]
            if perceptual and perceptual_weight:
                loss = loss + perceptual_weight * perceptual.distance(y, features)
            if encoder and latent_weight:
                error = encoder.offsets(2 * y - 1) - (start if settings.compared == "start" else offsets)
                loss = loss + latent_weight * error.square().flatten(1).mean(1)
        (offsets.grad,) = torch.autograd.grad(loss.sum(), [offsets])  # and none of any weights
        optimizer.step()
        if (step + 1) % CHECKED_EVERY == 0 or step + 1 == settings.steps:
            refuse_diverged(offsets, step + 1, settings.lr)
    with torch.no_grad(), _precision(images, autocast):
        last = draw(offsets).clamp(0, 1)
    figures = errors_of_each(images, last) | {f"start_{k}": v for k, v in errors_of_each(images, first).items()}
    return Inversion(mean + scale * offsets.detach(), last, figures)


def refuse_diverged(codes: Tensor, steps: int, lr: float) -> None:
    """Refuse codes ``(B, n_latent, style_dim)`` that are not finite.

    Raises:
        UserError: they are not.
    """
    if not codes.isfinite().all():
        raise UserError(f"inversion: codes are not finite after {steps} steps of {lr}: give a lower learning rate")


def _precision(images: Tensor, autocast: torch.dtype | None) -> torch.autocast:
    return torch.autocast(images.device.type, dtype=autocast, enabled=autocast is not None)
