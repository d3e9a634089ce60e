"""Training of a generator against a discriminator: who steps when, averages, precision and ranks."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Generator, Tensor
from torch.optim.swa_utils import update_bn

from ssl_bench.data.types import Batch, TrainingInputs
from ssl_bench.errors import UserError
from ssl_bench.methods.base import Method, OptimizerFactory
from ssl_bench.methods.descent import descend, scheduled, step_schedules
from ssl_bench.networks.ema import move_average
from ssl_bench.networks.interfaces import DiscriminatorFactory, GeneratorFactory
from ssl_bench.networks.spectral import converge_spectral_norm
from ssl_bench.ranges import Decay, PositiveInt, check_ranges

Part = dict[str, Tensor]
"""The real images of (a part of) a batch, and what a method keeps of them from `prepare` to `finish`."""
Terms = dict[str, Tensor]
STANDING_BATCHES = 32
"""That the averaged generator's BatchNorm statistics are estimated from (BigGAN's standing statistics)."""


def at_least(bound: float, method: type[Method], **settings: float) -> None:
    """Refuse the first of a method's settings that is below the bound, by its name."""
    for name, value in settings.items():
        if value < bound:
            raise UserError(f"{method.__name__}: {name} {value}: give {bound} or more")


def check_pixel_range(method: Method, inputs: TrainingInputs) -> None:
    """Refuse views of images that do not lie in [-1, 1], the range of the generator's images."""
    ends = torch.tensor([inputs.black, inputs.white])
    if ends.numel() and not torch.allclose(ends, torch.tensor([[-1.0], [1.0]]).expand_as(ends)):
        raise UserError(
            f"{type(method).__name__}: views lie in [{ends.min():.2f}, {ends.max():.2f}] and generated images in "
            "[-1, 1]: end the recipe with `normalize: {mean: 0.5, std: 0.5}`"
        )


@check_ranges
class Adversarial(Method):
    """Base of the methods that train a generator and a discriminator.

    A batch is one step of the discriminator; with every `n_dis`-th the generator makes one after it. `global_step`
    counts batches, as for every other method, so the generator has made ``ceil(global_step / n_dis)`` steps. Gradients
    are averaged over `accumulate` parts of the batch and over ranks, each network's alone: no network ever sees the
    gradient of the other's loss. Exponential moving averages of both networks are kept; that of the discriminator is
    scored, that of the generator draws.

    A subclass writes `discriminator_loss` and `generator_loss`, and where both need the same of the real images,
    `prepare` and `finish`. Each loss is called with the other network's parameters frozen. Terms that a batch does not
    have, the generator's between its turns or a lazy regulariser's, are logged as they were last.

    Args:
        image_shape: shape of one image; the command line takes it from the data.
        generator: given (latent_dim, image_shape), returns the network from latents to images in [-1, 1].
        discriminator: given (image_shape, outputs), returns the network with `feature_dim`, `features(x)`, which are
            scored, and `forward(x)`, their head's outputs.
        outputs: of the discriminator.
        latent_dim: length of the generator's standard normal input.
        n_dis: steps of the discriminator, each on a batch of its own, for one of the generator.
        accumulate: equal parts a batch is worked through in, to save memory. Losses that compare the images of a
            batch compare those of a part.
        ema: decay of the averages, per step of the network.
        generator_optimizer: as `optimizer`, which is then the discriminator's.
        **kwargs: optimizer, schedule and decay_all, see `Method`; schedule and decay_all hold for both networks.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        generator: GeneratorFactory,
        discriminator: DiscriminatorFactory,
        outputs: PositiveInt,
        latent_dim: PositiveInt = 128,
        n_dis: PositiveInt = 1,
        accumulate: PositiveInt = 1,
        ema: Decay = 0.99,
        generator_optimizer: OptimizerFactory | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.automatic_optimization = False
        self.image_shape, self.latent_dim = tuple(image_shape), latent_dim
        self.generator = generator(latent_dim, self.image_shape)
        self.discriminator = discriminator(self.image_shape, outputs)
        if not hasattr(self.discriminator, "feature_dim") or not hasattr(self.discriminator, "features"):
            kind = type(self.discriminator).__name__
            raise UserError(f"{type(self).__name__}: discriminator {kind}: give one with feature_dim and features(x)")
        self.generator_ema = copy.deepcopy(self.generator).requires_grad_(False).eval()
        self.discriminator_ema = copy.deepcopy(self.discriminator).requires_grad_(False).eval()
        self.feature_dim = self.discriminator.feature_dim
        self.n_dis, self.accumulate, self.ema = n_dis, accumulate, ema
        self.make_generator_optimizer = generator_optimizer or self.make_optimizer
        self.step = 0
        """`global_step` when the batch came: the discriminator's step raises it before the generator's turn."""
        self.latest: Terms = {}
        """Every term as it was last."""

    def encode(self, x: Tensor) -> Tensor:
        """The averaged discriminator's backbone: ``(N, C, H, W)`` in [-1, 1] to ``(N, feature_dim)``."""
        return self.discriminator_ema.features(x).float()

    def latents(self, n: int, generator: Generator | None = None) -> Tensor:
        """Latents ``(n, latent_dim)`` of the prior, drawn by `generator`."""
        device = self.device if generator is None else generator.device
        return torch.randn(n, self.latent_dim, generator=generator, device=device).to(self.device)

    def decode(self, z: Tensor) -> Tensor:
        """What the averaged generator makes of latents: images ``(n, C, H, W)`` in [0, 1], or points ``(n, D)``."""
        x: Tensor = self.generator_ema(z).float()
        return (x + 1) / 2 if len(self.image_shape) == 3 else x

    def sample(self, n: int, generator: Generator | None = None) -> Tensor:
        """n images ``(n, C, H, W)`` in [0, 1], or points ``(n, D)``, of the averaged generator."""
        return self.decode(self.latents(n, generator))

    def prepare(self, real: Tensor) -> Part:
        """What the losses are given of real images ``(N, ...)``: those, and what both need, computed once."""
        return {"real": real}

    def discriminator_loss(self, part: Part) -> Terms:
        """Scalar terms by name; ``loss`` is what the discriminator minimises."""
        raise TypeError(f"{type(self).__name__} must define discriminator_loss(part)")

    def generator_loss(self, part: Part) -> Terms:
        """Scalar terms by name; ``generator_loss`` is what the generator minimises."""
        raise TypeError(f"{type(self).__name__} must define generator_loss(part)")

    def finish(self, parts: list[Part]) -> None:
        """Keep what later batches need of this one, after the steps on it."""

    def is_lazy_step(self, every: int) -> bool:
        """Whether a regulariser that is evaluated lazily is, on this batch: with `every` times its weight."""
        return self.step % every == 0

    def fakes(self, n: int) -> Tensor:
        """n images of the generator that is trained, in [-1, 1]."""
        return self.generator(torch.randn(n, self.latent_dim, device=self.device))

    def with_fakes(self, real: Tensor) -> Tensor:
        """Real images, then as many generated ones without gradients: ``(2 N, ...)``."""
        with torch.no_grad():
            return torch.cat([real, self.fakes(len(real)).to(real.dtype)])

    def training_step(self, batch: Batch, batch_idx: int) -> Terms:
        """A step of the discriminator and, where it is its turn, one of the generator; each view is an image."""
        self.step = self.global_step
        parts = [self.prepare(part) for part in batch.images.flatten(0, 1).chunk(self.accumulate)]
        terms = self.descend(0, self.discriminator_loss, "loss", parts)
        if self.step % self.n_dis == 0:
            terms |= self.descend(1, self.generator_loss, "generator_loss", parts)
            move_average(self.generator_ema, self.generator, self.ema)
        move_average(self.discriminator_ema, self.discriminator, self.ema)
        self.finish(parts)
        step_schedules(self)
        self.latest |= terms
        self.log_metrics(self.latest, self.step)
        return terms

    def descend(self, which: int, loss: Callable[[Part], Terms], name: str, parts: list[Part]) -> Terms:
        """One optimizer's step along the mean over parts and ranks of a loss; returns the terms' means over parts."""
        return descend(self, which, loss, name, parts)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The discriminator's optimizer and the generator's, each scheduled per batch."""
        optimizers = [
            self.make_optimizer(self.parameter_groups(self.discriminator)),
            self.make_generator_optimizer(self.parameter_groups(self.generator)),
        ]
        return scheduled(self, optimizers)

    def train(self, mode: bool = True) -> "Adversarial":
        """Switch the networks that are trained; the averages stay in evaluation mode."""
        super().train(mode)
        self.generator_ema.eval()
        self.discriminator_ema.eval()
        return self

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the terms' last values, so that a resumed run logs what the uninterrupted one does."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["latest"] = {name: value.cpu() for name, value in self.latest.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take them up again."""
        super().on_load_checkpoint(checkpoint)
        self.latest = {name: value.to(self.device) for name, value in checkpoint["latest"].items()}

    def check_inputs(self, inputs: TrainingInputs) -> None:
        """Refuse batches that have no equal parts, and views outside the generator's range."""
        super().check_inputs(inputs)
        if inputs.images % self.accumulate or inputs.images < 2 * self.accumulate:
            raise UserError(
                f"{type(self).__name__}: a batch of {inputs.images} images in {self.accumulate} parts: give a "
                "--data.batch_size that --method.accumulate divides into parts of 2 or more, and as many images"
            )
        check_pixel_range(self, inputs)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Before an epoch ends, and its checkpoint is written, make the averaged generator fit to draw."""
        trainer = self.trainer
        if trainer.is_last_batch or trainer.should_stop or trainer.global_step == trainer.max_steps:
            self.recalibrate_ema(len(batch.images.flatten(0, 1)))

    def recalibrate_ema(self, batch_size: int) -> None:
        """Estimate what belongs to averaged weights and was copied from the trained ones.

        The generator's BatchNorm statistics, of its own images, and both networks' spectral norms. Until then, during
        an epoch, the averaged discriminator has the trained one's singular vectors, which nearly fit.
        """
        for network in (self.generator_ema, self.discriminator_ema):
            converge_spectral_norm(network)
        update_bn((self.latents(batch_size) for _ in range(STANDING_BATCHES)), self.generator_ema)
