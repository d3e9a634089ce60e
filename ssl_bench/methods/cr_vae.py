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
    """CR-VAE (Sinha & Dieng 2021, Eq. 5): a VAE that keeps the posteriors of the views of an image close.

    It minimises the negative evidence lower bounds of all views plus ``gamma * sum_{j > 1} KL(q(z | x^j) || q(z |
    x^1))``. The first view replaces the paper's untransformed image, because the SimVAE comparison augments all views
    alike. The authors' code does not run: it has undefined names, and uses exp(log variance) as a standard deviation.
    This class follows the formula, with the gamma of that code.

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
        """Eq. 5: the terms of each image, ``(N,)``, and the scalar ``loss``, the mean over images of their sum."""
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
