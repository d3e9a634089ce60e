"""SimVAE: generative self-supervised learning."""

import math
from typing import Any

import torch
from torch import Tensor

from ssl_bench.errors import UserError
from ssl_bench.losses.variational import Prior, gaussian_entropy, set_log_prior
from ssl_bench.methods.vae import VAE


class SimVAE(VAE):
    """SimVAE, "Narrowing the gap between discriminative & generative representation learning", Eq. 7, Algorithm 1.

    The J views of an image share one unknown centre y in latent space, z^j ~ N(y, sigma^2 I). Minimises, averaged
    over images, ``-sum_j log p(x^j | z^j) - sum_j H(q(z^j | x^j)) - E_q log p(z^1, ..., z^J)``, the last two in
    closed form (`set_log_prior`).

    Paper and released code disagree; the defaults are what the model implies. Algorithm 1 adds the entropy to the
    loss (posteriors would collapse) and leaves out the likelihood's variance. The released code weighs the entropy
    by 2 pi (``entropy_weight: 6.2832``), puts a standard normal on the mean latent instead of integrating y out
    (``prior: gaussian_plug_in``), and takes 2 views of MNIST where the paper takes 6. Those settings together are
    the experiments named ``simvae-<data>-released``.

    Args:
        sigma2: variance of p(z | y), 0.15 as released.
        prior: p(y), see `set_log_prior`; ``uniform`` as in the paper, which needs at least 2 views.
        entropy_weight: weight of the entropy; 1 is the bound.
        **kwargs: see `VAE`; beta weighs the divergence as a whole.
    """

    latent_mean: Tensor
    latent_covariance: Tensor

    def __init__(self, sigma2: float = 0.15, prior: Prior = "uniform", entropy_weight: float = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.sigma2, self.prior, self.entropy_weight = sigma2, prior, entropy_weight
        # A uniform p(y) cannot be sampled: `sample` draws from a Gaussian fitted to the latents seen in training.
        self.register_buffer("latent_mean", torch.zeros(self.feature_dim))
        self.register_buffer("latent_covariance", torch.eye(self.feature_dim))

    def divergence(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """Minus the entropy of the posteriors ``(J, N, L)``, minus the log density of the set: ``(N,)``."""
        if self.prior == "uniform" and len(mean) < 2:
            raise UserError("simvae with prior uniform got 1 view, needs 2 or more: set --views.num_views 2 or more")
        entropy = self.entropy_weight * gaussian_entropy(log_variance).sum(0)
        log_prior = set_log_prior(mean, log_variance, self.sigma2, self.prior)
        if self.training:
            self._follow_latents(mean.detach(), log_variance.detach())
        return -self.beta * (entropy + log_prior)

    @torch.no_grad()
    def _follow_latents(self, mean: Tensor, log_variance: Tensor, momentum: float = 0.01) -> None:
        """Running mean and covariance of the latents of the last hundred or so steps (under DDP the first rank's)."""
        if self.prior == "uniform":
            mean = mean.flatten(0, 1)
            centred = mean - self.latent_mean
            covariance = (centred[:, :, None] * centred[:, None]).mean(0)  # autocast would round a matrix product
            covariance.diagonal().add_(log_variance.exp().mean((0, 1)))
            self.latent_mean.lerp_(mean.mean(0), momentum)
            self.latent_covariance.lerp_(covariance, momentum)

    def prior_latents(self, noise: Tensor) -> Tensor:
        """Latents of one view: N(0, (1 + sigma^2) I), or the Gaussian of the latents seen where y is uniform."""
        if self.prior == "uniform":
            scale: Tensor = torch.linalg.cholesky(self.latent_covariance)
            return self.latent_mean + noise @ scale.mT
        return noise * math.sqrt(1 + self.sigma2)
