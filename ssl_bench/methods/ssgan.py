"""Self-supervised GAN: a discriminator that also tells which way images are turned."""

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
from ssl_bench.methods.adversarial import Adversarial, Part, Terms, at_least
from ssl_bench.networks.interfaces import Discriminator, DiscriminatorFactory, GeneratorFactory, HeadedDiscriminator
from ssl_bench.optim.schedule import Schedule


class SSGAN(Adversarial):
    """GAN with the rotation task (Chen et al. 2019, arXiv 1811.11212; Raj & Samala, with learning-rate decay).

    The discriminator minimises its adversarial loss and beta times the cross-entropy of the turn of real images, the
    generator its own and alpha times that of generated ones, through the discriminator's head: Eq. 2 and 3 of Raj &
    Samala, whose value function V has the sign of the other network, put right. The adversarial loss is of upright
    images only. With alpha = beta = 0 it is SNGAN (Miyato et al. 2018).

    Learning-rate decay per iteration or per epoch is `schedule`: ``exponential_step`` (the paper's EI) or
    ``exponential_epoch`` (EE), the same gamma at either rate; ``exponential`` decays at every iteration and by the
    same total as EE. An iteration is a batch, that is a step of the discriminator.

    Args:
        image_shape: (C, H, H) of one image; the command line takes it from the data.
        generator: see `Adversarial`.
        discriminator: see `Adversarial`; with `head`, of whose kind the rotation task has one of its own.
        loss: the adversarial loss.
        orientations: ``all`` of every fourth image (Chen et al.), or ``one`` of every image (mimicry).
        alpha: weight of the rotation task of generated images, for the generator.
        alpha_schedule: a factor on alpha over the run; ``{kind: linear}`` anneals it to 0, as the papers suggest for
            the sake of convergence to the data's distribution.
        beta: weight of the rotation task of real images, for the discriminator.
        penalty_weight: of the gradient penalty; 10 in WGAN-GP, 0 leaves it out.
        layer: block of the discriminator whose features are scored, 1 is the first; by default the last.
        **kwargs: see `Adversarial`.

    Raises:
        UserError: images that have no quarter turns, weights below 0, or a layer that there is not.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        generator: GeneratorFactory,
        discriminator: DiscriminatorFactory,
        loss: AdversarialLoss = "non_saturating",
        orientations: Orientations = "all",
        alpha: float = 0.2,
        alpha_schedule: Schedule | None = None,
        beta: float = 1.0,
        penalty_weight: float = 0.0,
        layer: int | None = None,
        **kwargs: Any,
    ):
        at_least(0, type(self), alpha=alpha, beta=beta, penalty_weight=penalty_weight)
        if alpha and not beta:
            raise UserError(
                f"SSGAN: alpha {alpha} with beta 0: nothing trains the head it needs; give beta above 0, or alpha 0"
            )
        if len(image_shape) != 3 or image_shape[1] != image_shape[2]:
            raise UserError(f"SSGAN: images of shape {tuple(image_shape)} have no quarter turns: give square ones")
        super().__init__(
            image_shape, generator, lambda shape, outputs: RotationDiscriminator(discriminator, shape), 1, **kwargs
        )
        self.discriminator_loss_of, self.generator_loss_of = DISCRIMINATOR_LOSSES[loss], GENERATOR_LOSSES[loss]
        self.orientations: Orientations = orientations
        self.alpha, self.alpha_schedule, self.beta = alpha, alpha_schedule, beta
        self.penalty_weight, self.layer = penalty_weight, layer
        if layer is not None:
            dims = getattr(self.discriminator.network, "layer_dims", [])
            if not 1 <= layer <= len(dims):
                raise UserError(
                    f"SSGAN: layer {layer}: the discriminator has {len(dims)} to choose from, the first is 1"
                )
            self.feature_dim = dims[layer - 1]

    def encode(self, x: Tensor) -> Tensor:
        """The averaged discriminator's pooled features, of the chosen block: ``(N, C, H, H) -> (N, feature_dim)``."""
        network: Any = self.discriminator_ema.network
        features: Tensor = network.features(x) if self.layer is None else network.features(x, self.layer)
        return features.float()

    def encode_layers(self, x: Tensor) -> list[Tensor]:
        """Those of every block; of a discriminator without `layers`, what `encode` gives."""
        network: Any = self.discriminator_ema.network
        layers = network.layers(x) if hasattr(network, "layers") else [self.encode(x)]
        return [layer.float() for layer in layers]

    def discriminator_loss(self, part: Part) -> Terms:
        """Adversarial loss and the turns of real images, all of one pass."""
        real, n = part["real"], len(part["real"])
        x = self.with_fakes(real)
        logits, terms = self.logits_and_rotation_loss(x, real if self.beta else None)
        terms = {f"{name}_real": value for name, value in terms.items()}
        loss = self.discriminator_loss_of(logits[:n], logits[n:])
        if self.beta:
            loss = loss + self.beta * terms["rotation_real"]
        if self.penalty_weight:
            terms["gradient_penalty"] = gradient_penalty(self.logits, *x.chunk(2))
            loss = loss + self.penalty_weight * terms["gradient_penalty"]
        return terms | {"real": logits[:n].mean(), "fake": logits[n:].mean(), "loss": loss}

    def generator_loss(self, part: Part) -> Terms:
        """Adversarial loss and the turns of generated images, all of one pass."""
        fake = self.fakes(len(part["real"]))
        logits, terms = self.logits_and_rotation_loss(fake, fake if self.alpha else None)
        terms = {f"{name}_fake": value for name, value in terms.items()}
        loss = self.generator_loss_of(logits)
        if self.alpha:
            annealing = self.alpha_schedule
            factor = annealing.factor(self.step, **self.run_length()) if annealing else 1.0
            loss = loss + self.alpha * factor * terms["rotation_fake"]
        return terms | {"generator_loss": loss}

    def logits_and_rotation_loss(self, x: Tensor, task: Tensor | None) -> tuple[Tensor, Terms]:
        """Logits ``(M,)`` of images, and cross-entropy and accuracy of the rotation task of some of them.

        Args:
            x: upright images ``(M, C, H, H)``.
            task: the first N of them, or none.
        """
        if task is None:
            return self.logits(x), {}
        moved, upright, labels = rotate_images(task, self.orientations)
        outputs = self.discriminator(torch.cat([x, moved])).float()
        logits, turns = outputs[: len(x), 0], torch.cat([outputs[upright, 1:], outputs[len(x) :, 1:]])
        accuracy = 100 * (turns.argmax(1) == labels).float().mean()
        return logits, {"rotation": F.cross_entropy(turns, labels), "rotation_accuracy": accuracy}

    def logits(self, x: Tensor) -> Tensor:
        """Of images, for the adversarial loss: ``(N, C, H, H) -> (N,)``."""
        return self.discriminator(x).float()[:, 0]

    def check_inputs(self, inputs: TrainingInputs) -> None:
        """Refuse batches that are too small to rotate a quarter of them."""
        super().check_inputs(inputs)
        if self.beta and inputs.images < NUM_ROTATIONS * self.accumulate:
            raise UserError(
                f"SSGAN: a batch of {inputs.images} images in {self.accumulate} parts, of each of which a quarter is "
                f"rotated: give a --data.batch_size of {NUM_ROTATIONS * self.accumulate} or more, and as many images"
            )


class RotationDiscriminator(Discriminator):
    """A discriminator with a head for the four turns beside its own: ``(N, C, H, H) -> (N, 1 + 4)``.

    Args:
        network: given (image_shape, outputs), returns the discriminator.
        image_shape: (C, H, H) of one image.

    Raises:
        UserError: the discriminator has no head of its own.
    """

    def __init__(self, network: DiscriminatorFactory, image_shape: tuple[int, ...]):
        super().__init__()
        upright, rotation = network(image_shape, 1), network(image_shape, NUM_ROTATIONS)
        if not isinstance(upright, HeadedDiscriminator) or not isinstance(rotation, HeadedDiscriminator):
            raise UserError(
                f"SSGAN: discriminator {type(upright).__name__}: give one whose outputs are a head of features"
            )
        self.network = upright
        # The head of another such network: of the same kind, and with a norm of its own, since one head of five outputs
        # would be divided by the norm of all five.
        self.rotation = rotation.head
        self.feature_dim = self.network.feature_dim

    def features(self, x: Tensor) -> Tensor:
        """Those of the discriminator."""
        return self.network.features(x)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of being real, then those of the four turns."""
        features = self.features(x)
        return torch.cat([self.network.head(features), self.rotation(features)], 1)
