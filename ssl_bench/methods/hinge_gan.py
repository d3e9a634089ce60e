"""A GAN with the hinge loss: baseline of the structural GAN, and with BigGAN's networks BigGAN."""

from typing import Any

import torch
from torch import Tensor

from ssl_bench.errors import UserError
from ssl_bench.losses.adversarial import hinge_discriminator, hinge_generator
from ssl_bench.losses.jacobian import jacobian_penalty
from ssl_bench.methods.adversarial import Adversarial, DiscriminatorNetwork, GeneratorNetwork, Part, Terms
from ssl_bench.methods.structural_gan import with_jacobian


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

    jacobian_norm: Tensor

    def __init__(
        self,
        image_shape: tuple[int, ...],
        generator: GeneratorNetwork,
        discriminator: DiscriminatorNetwork,
        smoothness_weight: float = 5.0,
        lipschitz: float = 1.0,
        lazy: int = 1,
        **kwargs: Any,
    ):
        super().__init__(image_shape, generator, discriminator, 1, **kwargs)
        if smoothness_weight < 0 or lazy < 1:
            raise UserError(f"HingeGAN: smoothness_weight {smoothness_weight}, lazy {lazy}: expected >= 0 and >= 1")
        self.smoothness_weight, self.lipschitz, self.lazy = smoothness_weight, lipschitz, lazy
        self.register_buffer("jacobian_norm", torch.zeros(()))

    def discriminator_loss(self, part: Part) -> Terms:
        """Hinge loss and, where it is due, the penalty."""
        real = part["real"]
        with torch.no_grad():
            fake = self.fakes(len(real))
        x = torch.cat([real, fake.to(real.dtype)])
        penalty = x.new_zeros(())
        if self.smoothness_weight and self.due(self.lazy):
            # A Jacobian of one row: the first power iteration has its norm exactly.
            outputs, sigma = with_jacobian(self.discriminator, x, 1)
            penalty = self.lazy * self.smoothness_weight * jacobian_penalty(sigma, self.lipschitz)
            self.jacobian_norm.copy_(sigma.detach().mean())
        else:
            outputs = self.discriminator(x).float()
        on_real, on_fake = outputs.chunk(2)
        terms = {"real": on_real.mean(), "fake": on_fake.mean()}
        if self.smoothness_weight:
            terms["jacobian_norm"] = self.jacobian_norm.clone()  # between lazy steps the last one
        return terms | {"loss": hinge_discriminator(on_real, on_fake) + penalty}

    def generator_loss(self, part: Part) -> Terms:
        """Hinge loss of the generator."""
        return {"generator_loss": hinge_generator(self.discriminator(self.fakes(len(part["real"]))).float())}
