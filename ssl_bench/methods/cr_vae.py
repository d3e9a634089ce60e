"""CR-VAE: consistency regularisation for variational autoencoders."""

from typing import Any

from torch import Tensor

from ssl_bench.data.types import TrainingInputs
from ssl_bench.errors import UserError
from ssl_bench.losses.variational import kl_gaussian, kl_to_standard_normal
from ssl_bench.methods.vae import VAE, Posteriors
from ssl_bench.ranges import NonNegativeFloat, check_ranges


@check_ranges
class CRVAE(VAE):
    """CR-VAE (Sinha & Dieng 2021, Eq. 5): a VAE whose posteriors of an image's views are kept close.

    Minimises the negative bounds of all views plus ``gamma * sum_{j > 1} KL(q(z | x^j) || q(z | x^1))``. The first
    view takes the place of the paper's untransformed image, since the SimVAE comparison augments all views alike. The
    authors' release does not run (undefined names; exp(log variance) used as a standard deviation), so this follows
    the formula with the release's gamma.

    Args:
        gamma: weight of the consistency term.
        **kwargs: see `VAE`.

    Example:
        ``ssl-bench bench --method cr_vae --data digits``
    """

    def __init__(self, gamma: NonNegativeFloat = 1e-3, **kwargs: Any):
        super().__init__(**kwargs)
        self.gamma = gamma

    def objective(self, q: Posteriors) -> dict[str, Tensor]:
        """Eq. 5: terms of each image, ``(N,)``, and the scalar ``loss``, their mean over images."""
        later, first = (q.mean[1:], q.log_variance[1:]), (q.mean[:1], q.log_variance[:1])
        log_likelihood = q.log_likelihood.sum(0)
        kl = kl_to_standard_normal(q.mean, q.log_variance).sum(0)
        consistency = kl_gaussian(*later, *first).sum(0)
        loss = -log_likelihood.mean() + (self.beta * kl + self.gamma * consistency).mean()
        return {"log_likelihood": log_likelihood, "kl": kl, "consistency": consistency, "loss": loss}

    def check_inputs(self, inputs: TrainingInputs) -> None:
        """Refuse a single view per image."""
        super().check_inputs(inputs)
        if inputs.views + inputs.generated < 2:
            raise UserError("cr_vae got 1 view, needs 2 or more: set --views.num_views 2 or more")
