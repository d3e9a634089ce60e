"""A GAN with the hinge loss: baseline of the structural GAN, and BigGAN if it has BigGAN's networks."""

from typing import Any

from torch import Tensor

from ssl_bench.losses.adversarial import hinge_discriminator, hinge_generator
from ssl_bench.losses.jacobian import jacobian_norm, jacobian_penalty
from ssl_bench.methods.adversarial import Adversarial
from ssl_bench.methods.alternating import Loss
from ssl_bench.networks.interfaces import DiscriminatorFactory, GeneratorFactory
from ssl_bench.ranges import NonNegativeFloat, PositiveInt, check_ranges


@check_ranges
class HingeGAN(Adversarial):
    """GAN with the hinge loss (Lim & Ye 2017): rows 2 and 3 of Table 4 of arXiv 2310.00357 (structural GAN).

    Args:
        image_shape: shape of one image; the command line takes it from the data.
        generator: see `Adversarial`.
        discriminator: see `Adversarial`; it is built with one output.
        smoothness_weight: weight of the penalty on the gradient norm of the output. The gradient norm is the spectral
            norm of the Jacobian of this single output, and the penalty is L_reg (Eq. 7 of arXiv 2310.00357) without the
            term on the norm of the embedding. Zero omits the penalty.
        lipschitz: target of the gradient norm.
        lazy: evaluate the penalty on every lazy-th batch only, with lazy times its weight.
        **kwargs: see `Adversarial`.

    Example:
        ``ssl-bench bench --method hinge_gan --data digits``
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        generator: GeneratorFactory,
        discriminator: DiscriminatorFactory,
        smoothness_weight: NonNegativeFloat = 5.0,
        lipschitz: NonNegativeFloat = 1.0,
        lazy: PositiveInt = 1,
        **kwargs: Any,
    ):
        super().__init__(image_shape, generator, discriminator, 1, **kwargs)
        self.smoothness_weight, self.lipschitz, self.lazy = smoothness_weight, lipschitz, lazy

    def discriminator_loss(self, real: Tensor) -> Loss:
        """Hinge loss and, on lazy steps, the penalty."""
        x = self.with_fakes(real)
        terms: dict[str, Tensor] = {}
        if self.smoothness_weight and self.is_lazy_step(self.lazy):
            # One power iteration finds the norm of a Jacobian of one row exactly.
            outputs, sigma = jacobian_norm(self.discriminator.forward, x)
            penalty = jacobian_penalty(sigma, self.lipschitz)
            terms["jacobian_norm"] = sigma.mean()
        else:
            outputs = self.discriminator(x).float()
            penalty = outputs.new_zeros(())
        on_real, on_fake = outputs.chunk(2)
        hinge = hinge_discriminator(on_real, on_fake)
        loss = hinge + self.lazy * self.smoothness_weight * penalty
        return Loss(loss, terms | {"real": on_real.mean(), "fake": on_fake.mean()})

    def generator_loss(self, real: Tensor) -> Loss:
        """Hinge loss of the generator."""
        return Loss(hinge_generator(self.discriminator(self.fakes(len(real))).float()))
