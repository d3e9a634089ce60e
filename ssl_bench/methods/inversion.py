"""In-domain inversion: an encoder from images to the codes of a trained StyleGAN2 generator."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_bench.data.types import Batch, TrainingInputs
from ssl_bench.errors import UserError
from ssl_bench.losses.adversarial import non_saturating_discriminator, non_saturating_generator
from ssl_bench.losses.stylegan import r1
from ssl_bench.methods.adversarial import check_pixel_range
from ssl_bench.methods.alternating import AlternatingMethod, Loss, TrainedNetwork
from ssl_bench.methods.base import OptimizerFactory
from ssl_bench.methods.checkpoint import load_method
from ssl_bench.methods.stylegan2 import StyleGAN2
from ssl_bench.networks.interfaces import DiscriminatorFactory, EncoderFactory
from ssl_bench.networks.perceptual import PerceptualLoss
from ssl_bench.ranges import NonNegativeFloat, PositiveFloat, PositiveInt, check_ranges


@dataclass(frozen=True)
class Reconstruction:
    """Real images and their reconstructions, both ``(N, C, H, H)`` in [-1, 1]."""

    real: Tensor
    reconstructed: Tensor


@check_ranges
class InDomainInversion(AlternatingMethod):
    """In-domain GAN inversion (Zhu et al. 2020, arXiv 2004.00049; "Constructive Assimilation", appendix C).

    The generator g is frozen. The encoder e minimises a weighted sum of three terms, for real images x and their
    reconstructions g(e(x)): the mean squared error of pixels in [-1, 1], a perceptual distance, and the adversarial
    term ``softplus(-D(g(e(x))))``. The discriminator D is initialised with the one that the generator was trained with.
    It learns to distinguish reconstructions from real images, with an R1 penalty on every `r1_every`-th batch. Eq. 4 of
    "Constructive Assimilation" prints the adversarial term with the opposite sign. Minimised as printed, it would train
    the encoder to make reconstructions that D recognises as generated. The default weights and truncation are those of
    that paper's released code. The encoder outputs untruncated codes minus the generator's mean code.
    `ssl_bench.generation.code_optimization.optimize_codes` optimises codes further, image by image.

    Args:
        image_shape: (C, H, H) of one image; the command line takes it from the data.
        encoder: given (image_shape, n_latent * style_dim), returns the network ``(N, C, H, H) -> (N, outputs)``.
        generator: run folder or checkpoint of a stylegan2 run. Checkpoints of this method contain the generator and its
            configuration, so that they load without the folder.
        discriminator: given (image_shape, 1), returns the discriminator; by default the one trained with the generator.
        perceptual: perceptual distance; if None, the term is omitted.
        perceptual_weight: weight of the perceptual distance.
        adversarial_weight: weight of the adversarial term; zero omits the term and the discriminator.
        latent_weight: weight of the mean squared error between the codes of generated images and the encoder's
            estimates.
        r1_weight: gamma. The R1 penalty is gamma / 2 times the mean squared norm of the gradient of D with respect to
            real images. Zero omits the penalty.
        r1_every: evaluate R1 on every r1_every-th batch only, with r1_every times its weight.
        truncation: factor by which codes are scaled towards the mean code, ``mean + truncation * (code - mean)``; 1
            leaves them unchanged.
        discriminator_optimizer: optimizer of the discriminator; by default `optimizer`, as for the encoder.
        **kwargs: optimizer, schedule and decay_all, see `Method`; schedule and decay_all apply to both networks.

    Raises:
        UserError: there is no generator, or it makes images of another shape.

    Example:
        ``ssl-bench bench --method inversion --data digits --method.generator runs/stylegan2-digits-s0-HASH``
    """

    family = "adversarial"
    center: Tensor
    r1: Tensor

    def __init__(
        self,
        image_shape: tuple[int, ...],
        encoder: EncoderFactory,
        generator: str | StyleGAN2 | None = None,
        discriminator: DiscriminatorFactory | None = None,
        perceptual: PerceptualLoss | None = None,
        perceptual_weight: NonNegativeFloat = 1.0,
        adversarial_weight: NonNegativeFloat = 0.05,
        latent_weight: NonNegativeFloat = 0.0,
        r1_weight: NonNegativeFloat = 10.0,
        r1_every: PositiveInt = 16,
        truncation: PositiveFloat = 0.7,
        discriminator_optimizer: OptimizerFactory | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.image_shape = tuple(image_shape)
        source = generator_of(generator, self.image_shape)
        self.generator_config = source.config if isinstance(generator, str) else None
        self.generator = source.generator_ema.requires_grad_(False).eval()
        self.n_latent, self.style_dim = source.n_latent, source.style_dim
        self.feature_dim = self.n_latent * self.style_dim
        self.register_buffer("center", source.mean_code())
        self.encoder = encoder(self.image_shape, self.feature_dim)
        self.discriminator: nn.Module | None = None
        if adversarial_weight:
            chosen = discriminator(self.image_shape, 1) if discriminator else source.discriminator
            self.discriminator = chosen.requires_grad_(True)
        self.register_buffer("r1", torch.zeros(()))  # the latest value, logged between its evaluations
        self.perceptual, self.perceptual_weight = perceptual, perceptual_weight
        self.adversarial_weight, self.latent_weight = adversarial_weight, latent_weight
        self.r1_weight, self.r1_every, self.truncation = r1_weight, r1_every, truncation
        self.make_discriminator_optimizer = discriminator_optimizer or self.make_optimizer

    def trained_networks(self) -> dict[str, TrainedNetwork]:
        """The encoder and, with the adversarial term, the discriminator."""
        networks = {"encoder": TrainedNetwork(self.encoder, self.make_optimizer, self.encoder_loss)}
        if self.discriminator is not None:
            networks["discriminator"] = TrainedNetwork(
                self.discriminator, self.make_discriminator_optimizer, self.discriminator_loss
            )
        return networks

    def prepare(self, real: Tensor) -> Reconstruction:
        """Real images ``(N, C, H, H)`` in [-1, 1] with their reconstructions g(e(x)), for both losses."""
        return Reconstruction(real, 2 * self.synthesize(self.codes(real)) - 1)

    def discriminator_loss(self, images: Reconstruction) -> Loss:
        """Non-saturating loss of reconstructions against real images and, on lazy steps, R1."""
        assert self.discriminator is not None
        real, reconstructed = images.real, images.reconstructed.detach()
        if self.r1_weight and self.is_lazy_step(self.r1_every):
            on_real, penalty = r1(self.discriminator.forward, real)
            self.r1.copy_(penalty.detach())
        else:
            on_real = self.discriminator(real).float()
            penalty = on_real.new_zeros(())
        on_reconstructed = self.discriminator(reconstructed).float()

        adversarial = non_saturating_discriminator(on_real, on_reconstructed)
        loss = adversarial + self.r1_every * self.r1_weight / 2 * penalty

        terms = {"real": on_real.mean(), "reconstructed": on_reconstructed.mean()}
        return Loss(loss, terms | ({"r1": self.r1} if self.r1_weight else {}))

    def encoder_loss(self, images: Reconstruction) -> Loss:
        """Eq. 4 (pixels, perceptual distance and adversarial term) plus the error of the codes of generated images."""
        real, reconstructed = images.real, images.reconstructed
        zero = reconstructed.new_zeros(())
        terms: dict[str, Tensor] = {}

        terms["mse"] = mse = F.mse_loss(reconstructed, real)
        perceptual = adversarial = latent = zero
        if self.perceptual is not None and self.perceptual_weight:
            with torch.no_grad():
                features = self.perceptual.features((real + 1) / 2)
            perceptual = self.perceptual.distance((reconstructed + 1) / 2, features).mean()
            terms[f"perceptual_{self.perceptual.name}"] = perceptual
        if self.discriminator is not None:
            terms["adversarial"] = adversarial = non_saturating_generator(self.discriminator(reconstructed).float())
        if self.latent_weight:
            z = torch.randn(len(real), self.generator.latent_dim, device=real.device)
            terms["latent"] = latent = self.latent_loss(z)
        loss = (
            mse
            + self.perceptual_weight * perceptual
            + self.adversarial_weight * adversarial
            + self.latent_weight * latent
        )
        return Loss(loss, terms)

    def latent_loss(self, z: Tensor) -> Tensor:
        """Mean squared error of the encoder's outputs for images generated from latents ``(N, latent_dim)``."""
        with torch.no_grad():
            offsets = self.generator.codes(z) - self.center
            images = 2 * self.synthesize(self.truncated(offsets)) - 1
        return F.mse_loss(self.offsets(images), offsets)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """A step of the discriminator, then one of the encoder; each view is an image."""
        self.step = self.global_step
        images = self.prepare(batch.images.flatten(0, 1))
        terms: dict[str, Tensor] = {}
        if self.discriminator is not None:
            terms, _ = self.step_optimizer("discriminator", [images])
        encoder_terms, _ = self.step_optimizer("encoder", [images])
        terms |= encoder_terms
        self.step_schedules()
        self.log_metrics(terms)
        return terms

    def offsets(self, x: Tensor) -> Tensor:
        """Outputs ``(N, n_latent, style_dim)`` of the encoder for images ``(N, C, H, H)`` in [-1, 1], in float32."""
        return self.encoder(x).float().view(x.shape[0], self.n_latent, self.style_dim)

    def truncated(self, offsets: Tensor) -> Tensor:
        """Truncated codes, of the same shape, for `synthesize`: ``mean + truncation * offsets``."""
        return self.center + self.truncation * offsets

    def codes(self, x: Tensor) -> Tensor:
        """Truncated codes ``(N, n_latent, style_dim)`` of images ``(N, C, H, H)`` in [-1, 1], in float32."""
        return self.truncated(self.offsets(x))

    def encode(self, x: Tensor) -> Tensor:
        """Truncated codes of all layers: images ``(N, C, H, H)`` in [-1, 1] to ``(N, n_latent * style_dim)``."""
        return self.codes(x).flatten(1)

    def mean_code(self) -> Tensor:
        """Mean code ``(style_dim,)`` of the generator."""
        return self.center

    def synthesize(self, codes: Tensor) -> Tensor:
        """The generator's images ``(N, C, H, H)`` at codes, about in [0, 1]; differentiable, so not clamped."""
        return (self.generator.synthesis(codes).float() + 1) / 2

    def reconstruct(self, x: Tensor) -> Tensor:
        """Images of the generator at the codes of images in [-1, 1]: same shape, in [0, 1]."""
        return self.synthesize(self.codes(x)).clamp(0, 1)

    def train(self, mode: bool = True) -> "InDomainInversion":
        """Set the mode of the trained networks; the generator stays in evaluation mode, with fixed noise."""
        super().train(mode)
        self.generator.eval()
        return self

    def check_inputs(self, inputs: TrainingInputs) -> None:
        """Refuse views outside [-1, 1], and a perceptual network whose weights are missing."""
        super().check_inputs(inputs)
        check_pixel_range(self, inputs)
        if self.perceptual is not None:
            self.perceptual.features(torch.zeros(1, *self.image_shape, device=self.device))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the generator's configuration instead of its path; its weights are in the checkpoint."""
        super().on_save_checkpoint(checkpoint)
        if self.generator_config and self.config:
            arguments = {**self.config["init_args"], "generator": self.generator_config}
            checkpoint["method"] = {**self.config, "init_args": arguments}


def generator_of(generator: str | StyleGAN2 | None, image_shape: tuple[int, ...]) -> StyleGAN2:
    """The stylegan2 method whose generator is inverted; it is loaded if a path is given.

    Raises:
        UserError: there is no generator, it belongs to another method, or it makes images of another shape.
    """
    if generator is None:
        raise UserError(
            "InDomainInversion: no generator to invert: give --method.generator RUN, a stylegan2 run's folder"
        )
    source = load_method(generator) if isinstance(generator, str) else generator
    if not isinstance(source, StyleGAN2):
        raise UserError(
            f"InDomainInversion: generator {generator} is a {type(source).__name__} run: give one of stylegan2"
        )
    if source.image_shape != image_shape:
        raise UserError(
            f"InDomainInversion: generator {generator} makes images of shape {source.image_shape}, and the data have "
            f"{image_shape}: give one that was trained on such images"
        )
    return source
