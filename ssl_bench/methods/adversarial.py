"""Training of a generator against a discriminator."""

import copy
from typing import Any

import torch
from torch import Generator, Tensor
from torch.optim.swa_utils import update_bn

from ssl_bench.data.types import Batch, TrainingInputs
from ssl_bench.errors import UserError
from ssl_bench.methods.alternating import AlternatingMethod, Loss, TrainedNetwork
from ssl_bench.methods.base import Method, OptimizerFactory
from ssl_bench.networks.ema import move_average
from ssl_bench.networks.interfaces import DiscriminatorFactory, GeneratorFactory
from ssl_bench.networks.spectral import converge_spectral_norm
from ssl_bench.ranges import Decay, PositiveInt, check_ranges

STANDING_BATCHES = 32
"""Number of batches from which the averaged generator's BatchNorm statistics are estimated (BigGAN's standing
statistics)."""


def check_pixel_range(method: Method, inputs: TrainingInputs) -> None:
    """Refuse image views whose range is not [-1, 1], the range of the generator's images."""
    ends = torch.tensor([inputs.black, inputs.white])
    if ends.numel() and not torch.allclose(ends, torch.tensor([[-1.0], [1.0]]).expand_as(ends)):
        raise UserError(
            f"{type(method).__name__}: views lie in [{ends.min():.2f}, {ends.max():.2f}] and generated images in "
            "[-1, 1]: end the recipe with `normalize: {mean: 0.5, std: 0.5}`"
        )


@check_ranges
class Adversarial(AlternatingMethod):
    """Base of the methods that train a generator and a discriminator.

    The discriminator makes a step on every batch. On every `n_dis`-th batch, the generator then makes a step.
    `global_step` counts batches, as for every other method, so the generator has made ``ceil(global_step / n_dis)``
    steps. Gradients are averaged over `accumulate` parts of the batch and over processes. Neither network receives
    gradients of the other's loss. Exponential moving averages of both networks are kept: the averaged discriminator is
    scored, and the averaged generator makes the samples.

    A subclass defines `discriminator_loss` and `generator_loss`. It may define `prepare`, which computes quantities of
    the real images that both losses use, and `finish`, which keeps quantities for later batches. Terms of the generator
    and of lazy regularisers are not evaluated on every batch; on the other batches, their latest values are logged.

    Args:
        image_shape: shape of one image; the command line takes it from the data.
        generator: given (latent_dim, image_shape), returns the network from latents to images in [-1, 1].
        discriminator: given (image_shape, outputs), returns the network. Its `features(x)`, of length `feature_dim`,
            are scored; `forward(x)` gives the outputs of its head.
        outputs: number of outputs of the discriminator.
        latent_dim: length of the generator's standard normal input.
        n_dis: number of discriminator steps, each on a new batch, for each generator step.
        accumulate: number of equal parts of a batch that are processed one after another, to save memory. A loss that
            compares images with each other then compares the images of one part only. A smaller last batch of an epoch
            has parts of nearly equal size, weighted by their size, and fewer of them if they would be too small.
        ema: decay of the moving averages, per step of the network.
        generator_optimizer: optimizer of the generator; by default `optimizer`, as for the discriminator.
        **kwargs: optimizer, schedule and decay_all, see `Method`; schedule and decay_all apply to both networks.
    """

    family = "adversarial"
    smallest_part: int = 2
    """Smallest number of images of a part."""

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
        self.latest: dict[str, Tensor] = {}
        """The latest value of every term."""

    def encode(self, x: Tensor) -> Tensor:
        """Features of the averaged discriminator: ``(N, C, H, W)`` in [-1, 1] to ``(N, feature_dim)``."""
        return self.discriminator_ema.features(x).float()

    def latents(self, n: int, generator: Generator | None = None) -> Tensor:
        """Sample n latents ``(n, latent_dim)`` of the prior with the random number generator `generator`."""
        device = self.device if generator is None else generator.device
        return torch.randn(n, self.latent_dim, generator=generator, device=device).to(self.device)

    def decode(self, z: Tensor) -> Tensor:
        """Images ``(n, C, H, W)`` in [0, 1], or points ``(n, D)``, of the averaged generator at latents z."""
        x: Tensor = self.generator_ema(z).float()
        return (x + 1) / 2 if len(self.image_shape) == 3 else x

    def sample(self, n: int, generator: Generator | None = None) -> Tensor:
        """n samples of the averaged generator: images ``(n, C, H, W)`` in [0, 1], or points ``(n, D)``."""
        return self.decode(self.latents(n, generator))

    def trained_networks(self) -> dict[str, TrainedNetwork]:
        """The discriminator and the generator."""
        return {
            "discriminator": TrainedNetwork(self.discriminator, self.make_optimizer, self.discriminator_loss),
            "generator": TrainedNetwork(self.generator, self.make_generator_optimizer, self.generator_loss),
        }

    def prepare(self, real: Tensor) -> Any:
        """Return the argument of both losses: real images ``(N, ...)``, with the quantities that both losses use."""
        return real

    def discriminator_loss(self, real: Any) -> Loss:
        """Return the loss that the discriminator minimises; `real` is the result of `prepare`."""
        raise TypeError(f"{type(self).__name__} must define discriminator_loss(real)")

    def generator_loss(self, real: Any) -> Loss:
        """Return the loss that the generator minimises; `real` is the result of `prepare`."""
        raise TypeError(f"{type(self).__name__} must define generator_loss(real)")

    def finish(self, parts: list[Any], losses: list[Any]) -> None:
        """Keep quantities for later batches; called after the steps on a batch.

        Args:
            parts: the results of `prepare`, one for each part of the batch.
            losses: the last loss of each part: the generator's, or the discriminator's if the generator made no step.
        """

    def fakes(self, n: int) -> Tensor:
        """n samples ``(n, ...)`` in [-1, 1] of the generator in training, not of its average."""
        return self.generator(torch.randn(n, self.latent_dim, device=self.device))

    def with_fakes(self, real: Tensor) -> Tensor:
        """Real images, then as many generated ones without gradients: ``(2 N, ...)``."""
        with torch.no_grad():
            return torch.cat([real, self.fakes(len(real)).to(real.dtype)])

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """A step of the discriminator and, on every `n_dis`-th batch, one of the generator; each view is an image."""
        self.step = self.global_step
        images = batch.images.flatten(0, 1)
        split = images.tensor_split(self.number_of_parts(len(images)))
        parts, sizes = [self.prepare(part) for part in split], [len(part) for part in split]
        terms, losses = self.step_optimizer("discriminator", parts, sizes)
        if self.step % self.n_dis == 0:
            generator_terms, losses = self.step_optimizer("generator", parts, sizes)
            terms |= generator_terms
            move_average(self.generator_ema, self.generator, self.ema)
        move_average(self.discriminator_ema, self.discriminator, self.ema)
        self.finish(parts, losses)
        self.step_schedules()
        self.latest |= terms
        self.log_metrics(self.latest)
        return terms

    def number_of_parts(self, images: int) -> int:
        """Number of parts of a batch: `accumulate`, or as many as have `smallest_part` images."""
        return max(1, min(self.accumulate, images // self.smallest_part))

    def train(self, mode: bool = True) -> "Adversarial":
        """Set the mode of the trained networks; the averages stay in evaluation mode."""
        super().train(mode)
        self.generator_ema.eval()
        self.discriminator_ema.eval()
        return self

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the latest terms, so that a resumed run logs the same values as an uninterrupted run."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["latest"] = {name: value.cpu() for name, value in self.latest.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the latest terms."""
        super().on_load_checkpoint(checkpoint)
        self.latest = {name: value.to(self.device) for name, value in checkpoint["latest"].items()}

    def check_inputs(self, inputs: TrainingInputs) -> None:
        """Refuse batches that cannot be split into equal parts, and views outside the generator's range."""
        super().check_inputs(inputs)
        if inputs.images % self.accumulate or inputs.images < 2 * self.accumulate:
            raise UserError(
                f"{type(self).__name__}: a batch of {inputs.images} images in {self.accumulate} parts: give a "
                "--data.batch_size that --method.accumulate divides into parts of 2 or more, and as many images"
            )
        if inputs.last_images < min(self.smallest_part, inputs.images // self.accumulate):
            raise UserError(
                f"{type(self).__name__}: the last batch of an epoch has {inputs.last_images} images, needs "
                f"{self.smallest_part}: give --data.drop_last true or another --data.batch_size"
            )
        check_pixel_range(self, inputs)

    def on_fit_start(self) -> None:
        """Recalibrate the averages of a run without steps, which writes its checkpoint at once."""
        if 0 in (self.trainer.max_epochs, self.trainer.max_steps) and self.inputs and not self.trainer.ckpt_path:
            self.recalibrate_ema(self.inputs.images)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Recalibrate the averages before the checkpoint of an epoch is written."""
        trainer = self.trainer
        if trainer.is_last_batch or trainer.should_stop or trainer.global_step == trainer.max_steps:
            self.recalibrate_ema(self.inputs.images if self.inputs else len(batch.images.flatten(0, 1)))

    def recalibrate_ema(self, batch_size: int) -> None:
        """Re-estimate the buffers of the averaged networks, which were copied from the trained networks.

        The generator's BatchNorm statistics are estimated from samples of the averaged generator. The singular vectors
        of spectral normalisation are computed for both networks by power iterations. Within an epoch, the averaged
        discriminator uses the singular vectors of the trained discriminator, which are close to its own.
        """
        for network in (self.generator_ema, self.discriminator_ema):
            converge_spectral_norm(network)
        update_bn((self.latents(batch_size) for _ in range(STANDING_BATCHES)), self.generator_ema)
