"""In-domain inversion: an encoder from images to the codes of a StyleGAN2 generator that is not trained any more."""

from typing import Any, Protocol

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_bench.data.types import Batch, TrainingInputs
from ssl_bench.errors import UserError
from ssl_bench.losses.adversarial import non_saturating_discriminator, non_saturating_generator
from ssl_bench.losses.stylegan import r1
from ssl_bench.methods.adversarial import Part, Terms, at_least, check_pixel_range
from ssl_bench.methods.base import Method, OptimizerFactory
from ssl_bench.methods.checkpoint import load_method
from ssl_bench.methods.descent import descend, scheduled, step_schedules
from ssl_bench.methods.stylegan2 import StyleGAN2
from ssl_bench.networks.interfaces import DiscriminatorFactory, EncoderFactory


class PerceptualLoss(Protocol):
    """A distance of images in the features of a network, of which images in [0, 1] are the inputs."""

    name: str
    """That it is logged by."""

    def features(self, images: Tensor) -> list[Tensor]:
        """Of images ``(N, C, H, W)``: tensors ``(N, ...)``."""
        ...

    def distance(self, images: Tensor, features: list[Tensor]) -> Tensor:
        """Of images ``(N, C, H, W)`` from those with these features: ``(N,)``."""
        ...


class InDomainInversion(Method):
    """In-domain GAN inversion (Zhu et al. 2020, arXiv 2004.00049; "Constructive Assimilation", appendix C).

    The encoder e minimises, of reconstructions g(e(x)) of real images by the frozen generator g, the mean squared error
    of pixels in [-1, 1], a perceptual distance and ``softplus(-D(g(e(x))))``; the discriminator D, which goes on from
    the generator's run, tells reconstructions from real images, with lazy R1. Eq. 4 of the paper prints the adversarial
    term with the other sign, which would drive reconstructions to what D calls generated. Weights and truncation are
    those its authors released. The encoder's outputs are codes before truncation, as offsets from the generator's mean
    code. `ssl_bench.generation.code_optimization.optimize_codes` optimises codes further, image by image.

    Args:
        image_shape: (C, H, H) of one image; the command line takes it from the data.
        encoder: given (image_shape, n_latent * style_dim), returns the network ``(N, C, H, H) -> (N, outputs)``.
        generator: run folder (or checkpoint) of a stylegan2 run. A checkpoint of this method holds the generator
            itself, and in place of the folder what it is, so that the folder is not needed to load it.
        discriminator: given (image_shape, 1), returns another network to start from; none takes the generator's own.
        perceptual: the perceptual distance; none leaves it out.
        perceptual_weight: its weight.
        adversarial_weight: of the adversarial term; 0 leaves it and the discriminator out.
        latent_weight: of the mean squared error of the encoder's outputs for generated images, whose codes are known.
        r1_weight: gamma of R1, gamma / 2 times the squared norm of D's gradient on real images.
        r1_every: evaluate it on every such batch only, with as many times its weight.
        truncation: of codes towards the mean code, ``mean + truncation * (code - mean)``.
        discriminator_optimizer: as `optimizer`, which is then the encoder's.
        **kwargs: optimizer, schedule and decay_all, see `Method`; schedule and decay_all hold for both networks.

    Raises:
        UserError: there is no generator for these images, or a setting is out of range.
    """

    center: Tensor
    r1: Tensor

    def __init__(
        self,
        image_shape: tuple[int, ...],
        encoder: EncoderFactory,
        generator: str | StyleGAN2 | None = None,
        discriminator: DiscriminatorFactory | None = None,
        perceptual: PerceptualLoss | None = None,
        perceptual_weight: float = 1.0,
        adversarial_weight: float = 0.05,
        latent_weight: float = 0.0,
        r1_weight: float = 10.0,
        r1_every: int = 16,
        truncation: float = 0.7,
        discriminator_optimizer: OptimizerFactory | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        weights = {"perceptual": perceptual_weight, "adversarial": adversarial_weight, "latent": latent_weight}
        at_least(0, type(self), **{f"{name}_weight": weight for name, weight in weights.items()}, r1_weight=r1_weight)
        at_least(1, type(self), r1_every=r1_every)
        if not truncation > 0:
            raise UserError(f"InDomainInversion: truncation {truncation}: give a number above 0")
        self.automatic_optimization = False
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
        self.register_buffer("r1", torch.zeros(()))  # as it was last, for the batches on which it is not evaluated
        self.perceptual, self.weights = perceptual, weights
        self.r1_weight, self.r1_every, self.truncation = r1_weight, r1_every, truncation
        self.make_discriminator_optimizer = discriminator_optimizer or self.make_optimizer
        self.step = 0
        """`global_step` when the batch came."""

    def offsets(self, x: Tensor) -> Tensor:
        """What the encoder says of images ``(N, C, H, H)`` in [-1, 1]: ``(N, n_latent, style_dim)`` in float32."""
        return self.encoder(x).float().view(len(x), self.n_latent, self.style_dim)

    def at(self, offsets: Tensor) -> Tensor:
        """The truncated codes, of the same shape, that `synthesize` draws: ``mean + truncation * offsets``."""
        return self.center + self.truncation * offsets

    def codes(self, x: Tensor) -> Tensor:
        """Truncated codes ``(N, n_latent, style_dim)`` of images ``(N, C, H, H)`` in [-1, 1], in float32."""
        return self.at(self.offsets(x))

    def encode(self, x: Tensor) -> Tensor:
        """The encoder's codes, of all layers: images ``(N, C, H, H)`` in [-1, 1] to ``(N, n_latent * style_dim)``."""
        return self.codes(x).flatten(1)

    def mean_code(self) -> Tensor:
        """The generator's, ``(style_dim,)``."""
        return self.center

    def synthesize(self, codes: Tensor) -> Tensor:
        """The generator's images ``(N, C, H, H)`` of codes, about [0, 1]; differentiable, so not clamped."""
        return (self.generator.synthesis(codes).float() + 1) / 2

    def reconstruct(self, x: Tensor) -> Tensor:
        """The generator at the encoder's codes of images in [-1, 1]: same shape, in [0, 1]."""
        return self.synthesize(self.codes(x)).clamp(0, 1)

    def prepare(self, real: Tensor) -> Part:
        """Real images ``(N, C, H, H)`` in [-1, 1] and their reconstructions, which both networks' losses are of."""
        return {"real": real, "reconstructed": 2 * self.synthesize(self.codes(real)) - 1}

    def discriminator_loss(self, part: Part) -> Terms:
        """Non-saturating loss of reconstructions against real images and, where it is due, R1."""
        assert self.discriminator is not None
        real, reconstructed = part["real"], part["reconstructed"].detach()
        penalty: Tensor | float = 0.0
        if self.r1_weight and self.step % self.r1_every == 0:
            on_real, square = r1(self.discriminator.forward, real)
            self.r1.copy_(square.detach())
            penalty = self.r1_every * self.r1_weight / 2 * square
        else:
            on_real = self.discriminator(real).float()
        on_reconstructed = self.discriminator(reconstructed).float()
        loss = non_saturating_discriminator(on_real, on_reconstructed) + penalty
        terms = {"real": on_real.mean(), "reconstructed": on_reconstructed.mean(), "discriminator_loss": loss}
        return terms | ({"r1": self.r1} if self.r1_weight else {})

    def encoder_loss(self, part: Part) -> Terms:
        """Pixels, perception, the discriminator's verdict, and the codes of generated images: as their weights say."""
        real, reconstructed = part["real"], part["reconstructed"]
        terms = {"mse": F.mse_loss(reconstructed, real)}
        loss = terms["mse"]
        if self.perceptual is not None and self.weights["perceptual"]:
            with torch.no_grad():
                features = self.perceptual.features((real + 1) / 2)
            distance = self.perceptual.distance((reconstructed + 1) / 2, features).mean()
            terms[f"perceptual_{self.perceptual.name}"] = distance
            loss = loss + self.weights["perceptual"] * distance
        if self.discriminator is not None:
            terms["adversarial"] = non_saturating_generator(self.discriminator(reconstructed).float())
            loss = loss + self.weights["adversarial"] * terms["adversarial"]
        if self.weights["latent"]:
            terms["latent"] = self.latent_loss(torch.randn(len(real), self.generator.latent_dim, device=real.device))
            loss = loss + self.weights["latent"] * terms["latent"]
        return terms | {"loss": loss}

    def latent_loss(self, z: Tensor) -> Tensor:
        """Mean squared error of what the encoder says of images generated from latents ``(N, latent_dim)``."""
        with torch.no_grad():
            offsets = self.generator.codes(z) - self.center
            images = 2 * self.synthesize(self.at(offsets)) - 1
        return F.mse_loss(self.offsets(images), offsets)

    def training_step(self, batch: Batch, batch_idx: int) -> Terms:
        """A step of the discriminator and then one of the encoder; each view is an image."""
        self.step = self.global_step
        part = self.prepare(batch.images.flatten(0, 1))
        terms = {}
        if self.discriminator is not None:
            terms = descend(self, 1, self.discriminator_loss, "discriminator_loss", [part])
        terms |= descend(self, 0, self.encoder_loss, "loss", [part])
        step_schedules(self)
        self.log_metrics(terms, self.step)
        return terms

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The encoder's optimizer and the discriminator's, each scheduled per batch."""
        optimizers = [self.make_optimizer(self.parameter_groups(self.encoder))]
        if self.discriminator is not None:
            optimizers.append(self.make_discriminator_optimizer(self.parameter_groups(self.discriminator)))
        return scheduled(self, optimizers)

    def train(self, mode: bool = True) -> "InDomainInversion":
        """Switch the networks that are trained; the generator keeps to its fixed noise."""
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
        """Say what the generator is, whose weights are here, and not where it was."""
        super().on_save_checkpoint(checkpoint)
        if self.generator_config and self.config:
            arguments = {**self.config["init_args"], "generator": self.generator_config}
            checkpoint["method"] = {**self.config, "init_args": arguments}


def generator_of(generator: str | StyleGAN2 | None, image_shape: tuple[int, ...]) -> StyleGAN2:
    """The stylegan2 method whose generator is inverted, loaded where it is a path.

    Raises:
        UserError: there is none, it is another method's, or it draws other images.
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
            f"InDomainInversion: generator {generator} draws images {source.image_shape}, and the data have "
            f"{image_shape}: give one that was trained on such images"
        )
    return source
