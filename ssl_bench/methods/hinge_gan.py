"""A GAN with the hinge loss: baseline of the structural GAN, and with BigGAN's networks BigGAN."""

from typing import Any

from ssl_bench.losses.adversarial import hinge_discriminator, hinge_generator
from ssl_bench.losses.jacobian import jacobian_norm, jacobian_penalty
from ssl_bench.methods.adversarial import Adversarial, Part, Terms, at_least
from ssl_bench.networks.interfaces import DiscriminatorFactory, GeneratorFactory


class HingeGAN(Adversarial):
    """Hinge loss (Lim & Ye 2017), rows 2 and 3 of the structural GAN paper's Table 4 (arXiv 2310.00357).

    Args:
        image_shape: shape of one image; the command line takes it from the data.
        generator: see `Adversarial`.
        discriminator: see `Adversarial`; it gives one number.
        smoothness_weight: of the penalty on the gradient's norm of that number, which is its Jacobian's spectral
            norm: the paper's L_reg (Eq. 7) without the norm of an embedding that there is not. 0 leaves it out.
        lipschitz: target of that norm.
        lazy: evaluate the penalty on every lazy-th batch only, with lazy times its weight.
        **kwargs: see `Adversarial`.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        generator: GeneratorFactory,
        discriminator: DiscriminatorFactory,
        smoothness_weight: float = 5.0,
        lipschitz: float = 1.0,
        lazy: int = 1,
        **kwargs: Any,
    ):
        at_least(0, type(self), smoothness_weight=smoothness_weight, lipschitz=lipschitz)
        at_least(1, type(self), lazy=lazy)
        super().__init__(image_shape, generator, discriminator, 1, **kwargs)
        self.smoothness_weight, self.lipschitz, self.lazy = smoothness_weight, lipschitz, lazy

    def discriminator_loss(self, part: Part) -> Terms:
        """Hinge loss and, where it is due, the penalty."""
        x = self.with_fakes(part["real"])
        terms: Terms = {}
        penalty = x.new_zeros(())
        if self.smoothness_weight and self.is_lazy_step(self.lazy):
            # A Jacobian of one row: the first power iteration has its norm exactly.
            outputs, sigma = jacobian_norm(self.discriminator.forward, x)
            penalty = self.lazy * self.smoothness_weight * jacobian_penalty(sigma, self.lipschitz)
            terms["jacobian_norm"] = sigma.mean()
        else:
            outputs = self.discriminator(x).float()
        on_real, on_fake = outputs.chunk(2)
        loss = hinge_discriminator(on_real, on_fake) + penalty
        return terms | {"real": on_real.mean(), "fake": on_fake.mean(), "loss": loss}

    def generator_loss(self, part: Part) -> Terms:
        """Hinge loss of the generator."""
        return {"generator_loss": hinge_generator(self.discriminator(self.fakes(len(part["real"]))).float())}
