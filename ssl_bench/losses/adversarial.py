"""Adversarial losses of a discriminator's logits, averaged over the batch; none touches another rank."""

from torch import Tensor
from torch.nn import functional as F


def hinge_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Hinge loss that the discriminator minimises: mean max(0, 1 - D(x)) + mean max(0, 1 + D(G(z))), a scalar.

    Lim & Ye 2017 (arXiv 1705.02894), Miyato et al. 2018 (arXiv 1802.05957, Eq. 16). Appendix A.3 of the structural GAN
    paper (arXiv 2310.00357) prints the fake term with the other sign, which would raise D(G(z)).
    """
    return F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()


def hinge_generator(fake_logits: Tensor) -> Tensor:
    """Loss that the generator minimises against the hinge: -mean D(G(z)), a scalar (Eq. 17 of Miyato et al.)."""
    return -fake_logits.mean()
