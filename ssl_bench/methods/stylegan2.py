"""StyleGAN2: a generator whose codes can be searched, perturbed and inverted."""

from typing import Any

import torch
from torch import Generator, Tensor, nn

from ssl_bench.distributed import gather
from ssl_bench.errors import UserError
from ssl_bench.losses.adversarial import non_saturating_discriminator, non_saturating_generator
from ssl_bench.losses.stylegan import path_lengths, r1
from ssl_bench.methods.adversarial import Adversarial
from ssl_bench.methods.alternating import Loss
from ssl_bench.methods.rosinality import load_rosinality, read_rosinality
from ssl_bench.networks.adaptive_augment import AdaptiveAugment
from ssl_bench.networks.interfaces import DiscriminatorFactory, StyleGenerator, StyleGeneratorFactory
from ssl_bench.ranges import NonNegativeFloat, PositiveInt, check_ranges

PATH_DECAY = 0.99
"""Decay of the moving average of path lengths."""


@check_ranges
class StyleGAN2(Adversarial):
    """StyleGAN2 (Karras et al. 2020, arXiv 1912.04958): non-saturating loss, lazy R1 and path length, style mixing.

    A lazy regulariser is evaluated on every k-th batch only. There it is added to the loss with k times its weight, and
    the optimizer makes one step on the sum. In the paper the regulariser has a separate optimizer step, so k batches
    take k + 1 steps. To compensate, the paper multiplies Adam's learning rate by c = k / (k + 1) and raises its betas
    to the power c (appendix B). Here the number of steps does not change, so there is nothing to compensate.

    Args:
        image_shape: (C, H, H) of one image; the command line takes it from the data.
        generator: see `Adversarial`. It must have `mapping`, `synthesis`, `codes` and `mean_code`.
        discriminator: see `Adversarial`.
        r1_weight: gamma. The weight of R1 is half of it; zero omits R1. The paper's code suggests 0.0002 H^2 / batch
            size as a first value.
        r1_every: evaluate R1 on every r1_every-th batch only, with r1_every times its weight.
        path_weight: weight of the squared difference of path lengths from their moving average; zero omits the penalty.
        path_every: evaluate path lengths on every path_every-th batch only, with path_every times the weight. Path
            lengths are computed for half as many synthetic images as the batch has.
        augment: augmentation of the real and generated images that the discriminator receives in both losses, such as
            `networks.diff_augment.DiffAugment` or `networks.adaptive_augment.AdaptiveAugment`. R1 is evaluated at the
            augmented images.
        rosinality: checkpoint from which training starts, in the format of the repository rosinality/stylegan2-pytorch.
            With ``--epochs 0`` its networks are imported unchanged. If the checkpoint has no ``g``, the generator is
            initialised from ``g_ema``; without ``d``, the discriminator is initialised at random.
        **kwargs: see `Adversarial`.

    Raises:
        UserError: the generator lacks `mapping`, `synthesis`, `codes` or `mean_code`.

    Example:
        ``ssl-bench bench --method stylegan2 --data digits``
    """

    path_mean: Tensor
    generator: StyleGenerator
    generator_ema: StyleGenerator

    def __init__(
        self,
        image_shape: tuple[int, ...],
        generator: StyleGeneratorFactory,
        discriminator: DiscriminatorFactory,
        r1_weight: NonNegativeFloat = 10.0,
        r1_every: PositiveInt = 16,
        path_weight: NonNegativeFloat = 2.0,
        path_every: PositiveInt = 4,
        augment: nn.Module | None = None,
        rosinality: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(image_shape, generator, discriminator, 1, **kwargs)
        needed = ("mapping", "synthesis", "codes", "mean_code")
        if missing := [name for name in needed if not hasattr(self.generator, name)]:
            kind = type(self.generator).__name__
            raise UserError(f"StyleGAN2: generator {kind} has no {missing[0]}: give a StyleGAN2Generator")
        self.r1_weight, self.r1_every = r1_weight, r1_every
        self.path_weight, self.path_every = path_weight, path_every
        self.augment, self.rosinality, self.pretrained = augment, rosinality, rosinality is not None
        self.register_buffer("path_mean", torch.zeros(()))

    def discriminator_loss(self, real: Tensor) -> Loss:
        """Non-saturating loss and, on lazy steps, R1.

        Real and generated images pass the discriminator separately, because it compares the images of a group.
        """
        terms: dict[str, Tensor] = {}
        with torch.no_grad():
            real, fake = self.augmented(real), self.augmented(self.fakes(len(real)))
        if self.r1_weight and self.is_lazy_step(self.r1_every):
            on_real, penalty = r1(self.discriminator.forward, real)
            terms["r1"] = penalty
        else:
            on_real = self.discriminator(real).float()
            penalty = on_real.new_zeros(())
        on_fake = self.discriminator(fake).float()

        adversarial = non_saturating_discriminator(on_real, on_fake)
        loss = adversarial + self.r1_every * self.r1_weight / 2 * penalty

        if isinstance(self.augment, AdaptiveAugment):
            self.augment.adapt(gather(on_real.detach()))
            terms["augmentation"] = self.augment.p.clone()
        return Loss(loss, terms | {"real": on_real.mean(), "fake": on_fake.mean()})

    def generator_loss(self, real: Tensor) -> Loss:
        """Non-saturating loss and, on lazy steps, the penalty on path lengths."""
        n = len(real)
        adversarial = non_saturating_generator(self.discriminator(self.augmented(self.fakes(n))).float())
        terms = self.path_terms((n + 1) // 2) if self.path_weight and self.is_lazy_step(self.path_every) else {}
        penalty = terms.get("path_penalty", adversarial.new_zeros(()))
        loss = adversarial + self.path_every * self.path_weight * penalty
        return Loss(loss, terms)

    def path_terms(self, n: int) -> dict[str, Tensor]:
        """Mean path length of n codes, and the penalty: mean squared deviation from the moving average (Eq. 4)."""
        codes = self.generator.codes(torch.randn(n, self.latent_dim, device=self.device))
        lengths = path_lengths(self.generator.synthesis, codes)
        with torch.no_grad():
            self.path_mean.lerp_(gather(lengths.detach()).mean(), 1 - PATH_DECAY)
        return {"path_length": lengths.mean(), "path_penalty": (lengths - self.path_mean).square().mean()}

    def augmented(self, x: Tensor) -> Tensor:
        """Images as the discriminator receives them."""
        return x if self.augment is None else self.augment(x)

    def setup(self, stage: str) -> None:
        """Load the imported networks. `__init__` does not, so that a checkpoint can be loaded without their file."""
        if self.rosinality is None or stage != "fit":
            return
        file, held = self.rosinality, read_rosinality(self.rosinality)
        average = held.get("g_ema") or held["g"]
        load_rosinality(file, self.generator_ema, average)
        load_rosinality(file, self.generator, held.get("g", average))
        for network in (self.discriminator, self.discriminator_ema) if "d" in held else ():
            load_rosinality(file, network, held["d"])

    @property
    def n_latent(self) -> int:
        """Number of codes of one image."""
        return self.generator.n_latent

    @property
    def style_dim(self) -> int:
        """Length of one code."""
        return self.generator.style_dim

    def codes_of(self, z: Tensor) -> Tensor:
        """Codes ``(N, n_latent, style_dim)`` of the averaged generator at latents ``(N, latent_dim)``."""
        return self.generator_ema.codes(z)

    def mean_code(self, n: int = 4096, generator: Generator | None = None) -> Tensor:
        """Mean ``(style_dim,)`` of n codes, towards which codes are truncated; by default the same in every call."""
        return self.generator_ema.mean_code(n, generator)

    def synthesize(self, codes: Tensor) -> Tensor:
        """Images ``(N, C, H, W)`` of the averaged generator at codes ``(N, n_latent, style_dim)``, about in [0, 1].

        They are not clamped, so that codes have gradients everywhere. Noise is fixed, so that the same code gives the
        same image.
        """
        return (self.generator_ema.synthesis(codes).float() + 1) / 2

    def decode(self, z: Tensor) -> Tensor:
        """Images ``(n, C, H, W)`` in [0, 1] of the averaged generator at latents z."""
        return self.synthesize(self.codes_of(z)).clamp(0, 1)
