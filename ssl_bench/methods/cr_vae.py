"""CR-VAE: consistency regularisation for variational autoencoders."""

from typing import Any

from torch import Tensor

from ssl_bench.errors import UserError
from ssl_bench.losses.variational import kl_gaussian
from ssl_bench.methods.vae import VAE


class CRVAE(VAE):
    """CR-VAE (Sinha & Dieng 2021, Eq. 5): posteriors of an image's views are held together.

    Minimises the negative bounds of all views plus ``gamma * sum_{j > 1} KL(q(z | x^j) || q(z | x^1))``. The first
    view stands for the paper's untransformed image, since in the SimVAE comparison all views are augmented alike.
    The authors' release does not run (undefined names; exp(log variance) taken as a standard deviation), so this
    follows the formula; its gamma is kept.

    Args:
        gamma: weight of the consistency term.
        **kwargs: see `VAE`.
    """

    def __init__(self, gamma: float = 1e-3, **kwargs: Any):
        super().__init__(**kwargs)
        self.gamma = gamma

    def divergence(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """The VAE's, plus the consistency of views 2..J ``(J, N, L)`` with the first: ``(N,)``."""
        if len(mean) < 2:
            raise UserError("cr_vae got 1 view, needs 2 or more: set --views.num_views 2 or more")
        consistency = kl_gaussian(mean[1:], log_variance[1:], mean[:1], log_variance[:1]).sum(0)
        return super().divergence(mean, log_variance) + self.gamma * consistency
