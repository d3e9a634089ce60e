"""SimVAE: generative self-supervised learning."""

import math
from typing import Annotated, Any

import torch
from torch import Tensor

from ssl_bench.data.types import Batch, TrainingInputs
from ssl_bench.errors import UserError
from ssl_bench.losses.variational import Prior, gaussian_entropy, set_log_prior
from ssl_bench.methods.vae import VAE, Posteriors
from ssl_bench.ranges import Interval, PositiveFloat, check_ranges

MOMENTUM = 0.01
"""Weight of one batch in the running mean and covariance of the latents, which cover about the last hundred steps."""


@check_ranges
class SimVAE(VAE):
    """SimVAE (Bizeul et al.): a VAE in which the views of an image share a latent centre.

    Equation numbers are those of the submission "SimVAE: narrowing the gap between discriminative & generative
    representation learning"; arXiv 2402.01399 is its later version. The J views of an image share one unknown centre y
    in latent space, z^j ~ N(y, sigma^2 I). Training maximises the mean over images of the bound of Eq. 7, ``E_q[sum_j
    log p(x^j | z^j)] + sum_j H(q(z^j | x^j)) + E_q[log p(z^1, ..., z^J)]``. The first expectation is estimated from one
    sample; the entropy (`gaussian_entropy`) and the prior (`set_log_prior`) are in closed form.

    Where the paper and its released code disagree, the defaults maximise this bound. Algorithm 1 minimises the entropy
    instead of maximising it, which would collapse the posteriors, and omits the variance of the likelihood. The
    released code weights the entropy by 2 pi (``entropy_weight: 6.2832``), evaluates a standard normal at the mean
    latent instead of integrating y out (``prior: gaussian_plug_in``), and takes 2 views of MNIST where the paper takes
    6. The experiments ``simvae-<data>-released`` reproduce the released code.

    Args:
        sigma2: variance of p(z | y); the default is that of the released code.
        prior: p(y), see `set_log_prior`. ``uniform``, as in the paper, needs at least 2 views.
        entropy_weight: weight of the entropy; 1 gives the bound.
        **kwargs: see `VAE`; beta is the weight of the sum of entropy and log prior.

    Attributes:
        latent_mean: running mean of the training latents, ``(L,)``; updated only if the prior is uniform.
        latent_covariance: running covariance of the training latents, ``(L, L)``; updated only if the prior is uniform.
        num_views: number of views J in training, int64 scalar; only if the prior is ``gaussian_plug_in``.

    Example:
        ``ssl-bench bench --method simvae --data digits``
    """

    latent_mean: Tensor
    latent_covariance: Tensor
    num_views: Tensor

    def __init__(
        self,
        sigma2: PositiveFloat = 0.15,
        prior: Prior = "uniform",
        entropy_weight: Annotated[float, Interval()] = 1.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.sigma2, self.prior, self.entropy_weight = sigma2, prior, entropy_weight
        # A uniform p(y) cannot be sampled: `sample` uses a Gaussian with the moments of the latents in training.
        self.register_buffer("latent_mean", torch.zeros(self.feature_dim))
        self.register_buffer("latent_covariance", torch.eye(self.feature_dim))
        if prior == "gaussian_plug_in":  # whose density depends on the number of views
            self.register_buffer("num_views", torch.tensor(2))

    def objective(self, q: Posteriors) -> dict[str, Tensor]:
        """Minus Eq. 7: the terms of each image, ``(N,)``, and the scalar ``loss``, minus the mean of their sum."""
        log_likelihood = q.log_likelihood.sum(0)  # sum_j log p(x^j | z^j)
        entropy = gaussian_entropy(q.log_variance).sum(0)  # -sum_j E_q log q(z^j | x^j)
        log_prior = set_log_prior(q.mean, q.log_variance, self.sigma2, self.prior)  # E_q log p(z^1, ..., z^J)
        loss = -(log_likelihood.mean() + (self.beta * (self.entropy_weight * entropy + log_prior)).mean())
        return {"log_likelihood": log_likelihood, "entropy": entropy, "log_prior": log_prior, "loss": loss}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a batch, and update the moments of the latents."""
        q = self.infer(batch.images)
        terms = self.objective(q)
        self.log_metrics({name: term.detach().mean() for name, term in terms.items()})
        if self.prior == "uniform":
            self.update_latent_moments(q.mean, q.log_variance)
        if self.prior == "gaussian_plug_in":
            self.num_views.fill_(len(q.mean))
        return terms["loss"]

    @torch.no_grad()
    def update_latent_moments(self, mean: Tensor, log_variance: Tensor) -> None:
        """Update the running moments from posteriors ``(J, N, L)``; under DDP, those of the first rank are kept."""
        mean = mean.flatten(0, 1)
        centred = mean - self.latent_mean
        covariance = (centred[:, :, None] * centred[:, None]).mean(0)  # autocast would round a matrix product
        covariance.diagonal().add_(log_variance.exp().mean((0, 1)))
        self.latent_mean.lerp_(mean.mean(0), MOMENTUM)
        self.latent_covariance.lerp_(covariance, MOMENTUM)

    def prior_latents(self, noise: Tensor) -> Tensor:
        """Latents of one view.

        The uniform prior has none: they are from N(latent_mean, latent_covariance). Under N(0, I), y has unit variance
        and z has 1 + sigma^2. The plug-in density says that of the mean latent, about which z has (1 - 1/J) sigma^2.
        """
        if self.prior == "uniform":
            scale: Tensor = torch.linalg.cholesky(self.latent_covariance)
            return self.latent_mean + noise @ scale.mT
        if self.prior == "gaussian_plug_in":
            return noise * (1 + (1 - 1 / self.num_views) * self.sigma2).sqrt()
        return noise * math.sqrt(1 + self.sigma2)

    def check_inputs(self, inputs: TrainingInputs) -> None:
        """Refuse a single view per image under the uniform prior."""
        super().check_inputs(inputs)
        if self.prior == "uniform" and inputs.views + inputs.generated < 2:
            raise UserError("simvae with prior uniform got 1 view, needs 2 or more: set --views.num_views 2 or more")
