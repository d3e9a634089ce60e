"""Self-supervised GAN: a discriminator that also predicts by which angle images are rotated."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_bench.data.types import TrainingInputs
from ssl_bench.errors import UserError
from ssl_bench.losses.adversarial import (
    DISCRIMINATOR_LOSSES,
    GENERATOR_LOSSES,
    AdversarialLoss,
    gradient_penalty,
)
from ssl_bench.losses.rotation import NUM_ROTATIONS, Orientations, rotate_images
from ssl_bench.methods.adversarial import Adversarial
from ssl_bench.methods.alternating import Loss
from ssl_bench.networks.interfaces import Discriminator, DiscriminatorFactory, GeneratorFactory, HeadedDiscriminator
from ssl_bench.optim.schedule import Schedule
from ssl_bench.ranges import NonNegativeFloat, PositiveInt, check_ranges


@check_ranges
class SSGAN(Adversarial):
    """GAN with the rotation task (Chen et al. 2019, arXiv 1811.11212; Raj & Samala, with learning-rate decay).

    The discriminator minimises its adversarial loss plus beta times the cross-entropy of the rotations of real images.
    The generator minimises its adversarial loss plus alpha times the cross-entropy of the rotations of its images, as
    predicted by the discriminator. These are Eq. 3 and Eq. 2 of Raj & Samala, with the sign of the value function V
    reversed in both: as printed, each network would optimise V in the other network's direction. Only images that are
    not rotated enter the adversarial loss. With alpha = beta = 0 the method is SNGAN (Miyato et al. 2018).

    `schedule` sets the learning-rate decay. ``exponential_step`` (EI in Raj & Samala) multiplies the rate by gamma
    after every iteration, ``exponential_epoch`` (EE) after every epoch. ``exponential`` spreads the factor gamma of an
    epoch evenly over its iterations. An iteration is one batch, on which the discriminator makes one step.

    Args:
        image_shape: (C, H, H) of one image; the command line takes it from the data.
        generator: see `Adversarial`.
        discriminator: see `Adversarial`. It must have a `head`; a second head of the same class is added for the
            rotation task.
        loss: the adversarial loss.
        orientations: ``all`` rotates every fourth image into all four orientations, as in Chen et al.; ``one`` uses
            every image in a single orientation, as in the library torch-mimicry.
        alpha: weight of the rotation task of generated images in the generator's loss.
        alpha_schedule: schedule of a factor on alpha; by default alpha is constant. ``{kind: linear}`` anneals alpha to
            0. The papers suggest this, so that the generator can converge to the distribution of the data.
        beta: weight of the rotation task of real images in the discriminator's loss.
        penalty_weight: weight of the gradient penalty; 10 in WGAN-GP. Zero omits the penalty.
        layer: number of the discriminator's block whose features are scored, counted from 1; the last block by default.
        **kwargs: see `Adversarial`.

    Raises:
        UserError: the images are not square, the discriminator has no such layer, or alpha is positive while beta is 0.

    Example:
        ``ssl-bench bench --method ssgan --data digits``
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        generator: GeneratorFactory,
        discriminator: DiscriminatorFactory,
        loss: AdversarialLoss = "non_saturating",
        orientations: Orientations = "all",
        alpha: NonNegativeFloat = 0.2,
        alpha_schedule: Schedule | None = None,
        beta: NonNegativeFloat = 1.0,
        penalty_weight: NonNegativeFloat = 0.0,
        layer: PositiveInt | None = None,
        **kwargs: Any,
    ):
        if alpha and not beta:
            raise UserError(
                f"SSGAN: alpha {alpha} with beta 0: the rotation head would not be trained; give beta above 0, or "
                "alpha 0"
            )
        if len(image_shape) != 3 or image_shape[1] != image_shape[2]:
            raise UserError(
                f"SSGAN: images of shape {tuple(image_shape)} cannot be rotated by 90 degrees: give square ones"
            )
        super().__init__(
            image_shape, generator, lambda shape, outputs: RotationDiscriminator(discriminator, shape), 1, **kwargs
        )
        self.discriminator_value, self.generator_value = DISCRIMINATOR_LOSSES[loss], GENERATOR_LOSSES[loss]
        self.orientations: Orientations = orientations
        self.alpha, self.alpha_schedule, self.beta = alpha, alpha_schedule, beta
        self.penalty_weight, self.layer = penalty_weight, layer
        self.smallest_part = NUM_ROTATIONS if beta else 2
        if layer is not None:
            dims = getattr(self.discriminator.network, "layer_dims", [])
            if layer > len(dims):
                raise UserError(f"SSGAN: layer {layer}: the discriminator has {len(dims)}: give one of them, from 1")
            self.feature_dim = dims[layer - 1]

    def discriminator_loss(self, real: Tensor) -> Loss:
        """Eq. 3: the value function and the rotation task of real images, in one pass; and the gradient penalty."""
        n = len(real)
        x = self.with_fakes(real)
        logits, rotation = self.logits_and_rotation_loss(x, real if self.beta else None)
        zero = logits.new_zeros(())

        value = self.discriminator_value(logits[:n], logits[n:])
        cross_entropy = rotation.get("rotation", zero)
        penalty = gradient_penalty(self.logits, *x.chunk(2)) if self.penalty_weight else zero
        loss = value + self.beta * cross_entropy + self.penalty_weight * penalty

        terms = {f"{name}_real": term for name, term in rotation.items()}
        terms |= {"gradient_penalty": penalty} if self.penalty_weight else {}
        return Loss(loss, terms | {"real": logits[:n].mean(), "fake": logits[n:].mean()})

    def generator_loss(self, real: Tensor) -> Loss:
        """Eq. 2: the value function and the rotation task of generated images, in one pass."""
        fake = self.fakes(len(real))
        logits, rotation = self.logits_and_rotation_loss(fake, fake if self.alpha else None)

        value = self.generator_value(logits)
        cross_entropy = rotation.get("rotation", logits.new_zeros(()))
        loss = value + self.annealed_alpha() * cross_entropy

        return Loss(loss, {f"{name}_fake": term for name, term in rotation.items()})

    def annealed_alpha(self) -> float:
        """alpha at this step of the run."""
        if not self.alpha or self.alpha_schedule is None:
            return self.alpha
        return self.alpha * self.alpha_schedule.factor(self.step, **self.run_length())

    def logits_and_rotation_loss(self, x: Tensor, task: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits ``(M,)`` of images, and cross-entropy and accuracy (percent) of the rotation task of some of them.

        Args:
            x: images ``(M, C, H, H)`` that are not rotated.
            task: the first N of these images, for the rotation task. If None, only logits are computed.

        Returns:
            The logits, and the scalars ``rotation`` (cross-entropy, nats) and ``rotation_accuracy`` (percent) by name;
            there are no scalars if `task` is None.
        """
        if task is None:
            return self.logits(x), {}
        rotated, upright, labels = rotate_images(task, self.orientations)
        outputs = self.discriminator(torch.cat([x, rotated])).float()
        logits, rotations = outputs[: len(x), 0], torch.cat([outputs[upright, 1:], outputs[len(x) :, 1:]])
        accuracy = 100 * (rotations.argmax(1) == labels).float().mean()
        return logits, {"rotation": F.cross_entropy(rotations, labels), "rotation_accuracy": accuracy}

    def logits(self, x: Tensor) -> Tensor:
        """Logits of images for the adversarial loss: ``(N, C, H, H) -> (N,)``."""
        return self.discriminator(x).float()[:, 0]

    def encode(self, x: Tensor) -> Tensor:
        """Pooled features of the averaged discriminator, of the chosen block: ``(N, C, H, H) -> (N, feature_dim)``."""
        network: Any = self.discriminator_ema.network
        features: Tensor = network.features(x) if self.layer is None else network.features(x, self.layer)
        return features.float()

    def encode_layers(self, x: Tensor) -> list[Tensor]:
        """Pooled features of every block; the result of `encode` if the discriminator has no `layers`."""
        network: Any = self.discriminator_ema.network
        layers = network.layers(x) if hasattr(network, "layers") else [self.encode(x)]
        return [layer.float() for layer in layers]

    def check_inputs(self, inputs: TrainingInputs) -> None:
        """Refuse batches that are too small to rotate a quarter of them."""
        super().check_inputs(inputs)
        if self.beta and inputs.images < NUM_ROTATIONS * self.accumulate:
            raise UserError(
                f"SSGAN: a batch of {inputs.images} images in {self.accumulate} parts is too small to rotate a quarter "
                f"of each part: give a --data.batch_size of {NUM_ROTATIONS * self.accumulate} or more, and as many "
                "images"
            )


class RotationDiscriminator(Discriminator):
    """A discriminator with a second head for the four rotations: ``(N, C, H, H) -> (N, 1 + 4)``.

    Args:
        network: given (image_shape, outputs), returns the discriminator.
        image_shape: (C, H, H) of one image.

    Raises:
        UserError: the discriminator has no head.
    """

    def __init__(self, network: DiscriminatorFactory, image_shape: tuple[int, ...]):
        super().__init__()
        upright, rotation = network(image_shape, 1), network(image_shape, NUM_ROTATIONS)
        if not isinstance(upright, HeadedDiscriminator) or not isinstance(rotation, HeadedDiscriminator):
            raise UserError(
                f"SSGAN: discriminator {type(upright).__name__}: give a subclass of HeadedDiscriminator "
                "(ssl_bench.networks.interfaces)"
            )
        self.network = upright
        # The head of a second network of the same class, so that its weights are normalised separately. A single head
        # with five outputs would be divided by the norm of all five.
        self.rotation = rotation.head
        self.feature_dim = self.network.feature_dim

    def features(self, x: Tensor) -> Tensor:
        """Features of the discriminator."""
        return self.network.features(x)

    def forward(self, x: Tensor) -> Tensor:
        """The logit of being real, then the logits of the four rotations."""
        features = self.features(x)
        return torch.cat([self.network.head(features), self.rotation(features)], 1)
