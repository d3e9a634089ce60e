"""Adversarial losses of a discriminator's logits, averaged over the batch, without communication between ranks."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

AdversarialLoss = Literal["non_saturating", "hinge", "wasserstein"]


def non_saturating_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Loss of the discriminator: -mean log s(D(x)) - mean log(1 - s(D(G(z)))), s the logistic function.

    Goodfellow et al. 2014 (arXiv 1406.2661, Eq. 1), negated: the discriminator maximises the value function.
    Raj & Samala (Eq. 2 and 3) print it with the generator's sign.
    """
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def non_saturating_generator(fake_logits: Tensor) -> Tensor:
    """Loss of the generator: -mean log s(D(G(z))). Its gradient does not vanish where D is certain.

    Goodfellow et al. 2014, section 3.
    """
    return F.softplus(-fake_logits).mean()


def hinge_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Hinge loss of the discriminator: mean max(0, 1 - D(x)) + mean max(0, 1 + D(G(z))), a scalar.

    Lim & Ye 2017 (arXiv 1705.02894), Miyato et al. 2018 (arXiv 1802.05957, Eq. 16). Appendix A.3 of the structural GAN
    paper (arXiv 2310.00357) prints the fake term with the other sign, which would increase D(G(z)).
    """
    return F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()


def hinge_generator(fake_logits: Tensor) -> Tensor:
    """Loss of the generator with the hinge loss: -mean D(G(z)), a scalar (Eq. 17 of Miyato et al.)."""
    return -fake_logits.mean()


def wasserstein_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Loss of the critic: mean D(G(z)) - mean D(x), the negated estimate of the Wasserstein distance.

    Arjovsky et al. 2017 (arXiv 1701.07875, Eq. 2 and 3). The estimate requires a 1-Lipschitz D, which spectral
    normalisation or `gradient_penalty` provide; weight normalisation does not.
    """
    return fake_logits.mean() - real_logits.mean()


def gradient_penalty(discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    """Mean of (||gradient of D|| - 1)^2 at points between real images and samples, a scalar.

    Gulrajani et al. 2017 (arXiv 1704.00028, Eq. 3; the paper's weight is 10). One point is sampled for each pair,
    uniformly on the line between the real image and the sample.

    Args:
        discriminator: images ``(N, ...)`` to logits ``(N,)`` or ``(N, 1)``; images of a batch must not interact.
        real: images ``(N, ...)``.
        fake: samples ``(N, ...)``, without gradients.
    """
    # Penalties on gradients are too inaccurate in half precision.
    dtype = torch.promote_types(real.dtype, torch.float32)
    share = torch.rand((len(real), *(1 for _ in real.shape[1:])), dtype=dtype, device=real.device)
    between = torch.lerp(real.to(dtype), fake.to(dtype), share).requires_grad_()
    with torch.autocast(real.device.type, enabled=False):
        (gradient,) = torch.autograd.grad(discriminator(between).sum(), between, create_graph=True)
    norm: Tensor = gradient.flatten(1).norm(dim=1)
    return (norm - 1).square().mean()


DISCRIMINATOR_LOSSES: dict[AdversarialLoss, Callable[[Tensor, Tensor], Tensor]] = {
    "non_saturating": non_saturating_discriminator,
    "hinge": hinge_discriminator,
    "wasserstein": wasserstein_discriminator,
}
GENERATOR_LOSSES: dict[AdversarialLoss, Callable[[Tensor], Tensor]] = {
    "non_saturating": non_saturating_generator,
    "hinge": hinge_generator,
    "wasserstein": hinge_generator,  # -mean D(G(z)) is the generator's loss against a critic as well
}
