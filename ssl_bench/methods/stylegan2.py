"""StyleGAN2: a generator whose codes can be searched, perturbed and inverted."""

from typing import Any

import torch
from torch import Generator, Tensor, nn

from ssl_bench.distributed import gather
from ssl_bench.errors import UserError
from ssl_bench.losses.adversarial import non_saturating_discriminator, non_saturating_generator
from ssl_bench.losses.stylegan import path_lengths, r1
from ssl_bench.methods.adversarial import Adversarial, Part, Terms, at_least
from ssl_bench.methods.rosinality import load_rosinality, read_rosinality
from ssl_bench.networks.adaptive_augment import AdaptiveAugment
from ssl_bench.networks.interfaces import DiscriminatorFactory, StyleGenerator, StyleGeneratorFactory

PATH_DECAY = 0.99
"""Of the moving average of path lengths."""


class StyleGAN2(Adversarial):
    """StyleGAN2 (Karras et al. 2020, arXiv 1912.04958): non-saturating loss, lazy R1 and path length, style mixing.

    A lazy regulariser is added to the loss of every k-th batch with k times its weight, in the one step that the
    network's optimizer makes of a batch. The paper makes a step of its own for it, k + 1 in k batches, and to make up
    for them multiplies Adam's learning rate by c = k / (k + 1) and raises its betas to it (appendix B); here there is
    nothing to make up for.

    Args:
        image_shape: (C, H, H) of one image; the command line takes it from the data.
        generator: see `Adversarial`; with `mapping`, `synthesis`, `codes` and `mean_code`.
        discriminator: see `Adversarial`.
        r1_weight: gamma, of which R1 has a half; 0 leaves it out. By the paper's code 0.0002 H^2 / batch size is a
            first guess.
        r1_every: evaluate R1 on every such batch only, with as many times its weight.
        path_weight: of the squared difference of path lengths from their mean; 0 leaves it out.
        path_every: evaluate it on every such batch only, with as many times its weight. On half of the batch.
        augment: what both networks' losses let the discriminator see real and generated images through, such as
            `networks.diff_augment.DiffAugment` or `networks.adaptive_augment.AdaptiveAugment`. R1 is of the images
            that it sees.
        rosinality: a checkpoint in the layout of rosinality's stylegan2-pytorch that training starts from; with
            ``--epochs 0`` its networks are imported as they are. Where it has no ``g`` or ``d``, the generator that is
            trained is its average, and the discriminator starts anew.
        **kwargs: see `Adversarial`.

    Raises:
        UserError: a setting out of range, or a generator without those parts.
    """

    generator: StyleGenerator
    generator_ema: StyleGenerator
    path_mean: Tensor

    def __init__(
        self,
        image_shape: tuple[int, ...],
        generator: StyleGeneratorFactory,
        discriminator: DiscriminatorFactory,
        r1_weight: float = 10.0,
        r1_every: int = 16,
        path_weight: float = 2.0,
        path_every: int = 4,
        augment: nn.Module | None = None,
        rosinality: str | None = None,
        **kwargs: Any,
    ):
        at_least(0, type(self), r1_weight=r1_weight, path_weight=path_weight)
        at_least(1, type(self), r1_every=r1_every, path_every=path_every)
        super().__init__(image_shape, generator, discriminator, 1, **kwargs)
        needed = ("mapping", "synthesis", "codes", "mean_code")
        if missing := [name for name in needed if not hasattr(self.generator, name)]:
            kind = type(self.generator).__name__
            raise UserError(f"StyleGAN2: generator {kind} has no {missing[0]}: give a StyleGAN2Generator")
        self.r1_weight, self.r1_every = r1_weight, r1_every
        self.path_weight, self.path_every = path_weight, path_every
        self.augment, self.rosinality = augment, rosinality
        self.register_buffer("path_mean", torch.zeros(()))

    def setup(self, stage: str) -> None:
        """Load what is imported: here, so that a run's checkpoint is read without the file it started from."""
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
        """Codes that an image has."""
        return self.generator.n_latent

    @property
    def style_dim(self) -> int:
        """Length of a code."""
        return self.generator.style_dim

    def codes_of(self, z: Tensor) -> Tensor:
        """Codes ``(N, n_latent, style_dim)`` of latents ``(N, latent_dim)`` by the averaged generator."""
        return self.generator_ema.codes(z)

    def mean_code(self, n: int = 4096, generator: Generator | None = None) -> Tensor:
        """Mean ``(style_dim,)`` of n codes, towards which codes are truncated; by default always the same."""
        return self.generator_ema.mean_code(n, generator)

    def synthesize(self, codes: Tensor) -> Tensor:
        """Images ``(N, C, H, W)`` of codes ``(N, n_latent, style_dim)``, about [0, 1], by the averaged generator.

        Not clamped, so that codes have gradients everywhere; noise is fixed, so that the same code is the same image.
        """
        return (self.generator_ema.synthesis(codes).float() + 1) / 2

    def decode(self, z: Tensor) -> Tensor:
        """What the averaged generator makes of latents: images ``(n, C, H, W)`` in [0, 1]."""
        return self.synthesize(self.codes_of(z)).clamp(0, 1)

    def seen(self, x: Tensor) -> Tensor:
        """What the discriminator is shown of images."""
        return x if self.augment is None else self.augment(x)

    def discriminator_loss(self, part: Part) -> Terms:
        """Non-saturating loss and, where it is due, R1. Real and generated images are told apart group by group."""
        terms: Terms = {}
        with torch.no_grad():
            real, fake = self.seen(part["real"]), self.seen(self.fakes(len(part["real"])))
        if self.r1_weight and self.is_lazy_step(self.r1_every):
            on_real, terms["r1"] = r1(self.discriminator.forward, real)
        else:
            on_real = self.discriminator(real).float()
        on_fake = self.discriminator(fake).float()
        loss = non_saturating_discriminator(on_real, on_fake)
        if terms:
            loss = loss + self.r1_every * self.r1_weight / 2 * terms["r1"]
        if isinstance(self.augment, AdaptiveAugment):
            self.augment.adapt(gather(on_real.detach()))
            terms["augmentation"] = self.augment.p.clone()
        return terms | {"real": on_real.mean(), "fake": on_fake.mean(), "loss": loss}

    def generator_loss(self, part: Part) -> Terms:
        """Non-saturating loss and, where it is due, path length."""
        n = len(part["real"])
        loss = non_saturating_generator(self.discriminator(self.seen(self.fakes(n))).float())
        if not self.path_weight or not self.is_lazy_step(self.path_every):
            return {"generator_loss": loss}
        codes = self.generator.codes(torch.randn((n + 1) // 2, self.latent_dim, device=self.device))
        lengths = path_lengths(self.generator.synthesis, codes)
        with torch.no_grad():
            self.path_mean.lerp_(gather(lengths.detach()).mean(), 1 - PATH_DECAY)
        penalty = (lengths - self.path_mean).square().mean()
        terms = {"path_length": lengths.mean(), "path_penalty": penalty}
        return terms | {"generator_loss": loss + self.path_every * self.path_weight * penalty}
