"""Variational autoencoder, and beta-VAE, which differs in one weight."""

from typing import Any, Literal, NamedTuple

import torch
from torch import Generator, Tensor

from ssl_bench.data.types import Batch
from ssl_bench.losses.variational import (
    bernoulli_log_likelihood,
    gaussian_log_likelihood,
    kl_to_standard_normal,
    reparameterize,
)
from ssl_bench.methods.base import Method
from ssl_bench.networks.interfaces import DecoderFactory, EncoderFactory
from ssl_bench.ranges import NonNegativeFloat, PositiveFloat, PositiveInt, check_ranges


class Posteriors(NamedTuple):
    """Posteriors q(z^j | x^j) of the J views of N images, and the log likelihood at one sample of each.

    Attributes:
        mean: means ``(J, N, L)``.
        log_variance: log variances ``(J, N, L)``.
        log_likelihood: log p(x^j | z^j) at a sample z^j of q(z^j | x^j), ``(J, N)``, in nats.
    """

    mean: Tensor
    log_variance: Tensor
    log_likelihood: Tensor


@check_ranges
class VAE(Method):
    """VAE (Kingma & Welling 2014); with beta other than 1, beta-VAE (Higgins et al. 2017).

    It minimises ``-log p(x | z) + beta * KL(q(z | x) || N(0, I))`` in nats, with one sample of z and the KL in closed
    form. Each view is treated as an image: the loss is summed over views and averaged over images. The VAE baseline in
    SimVAE's released code estimates the KL from a sample instead, and weights the entropy in it by 2 pi.

    Args:
        image_shape: shape of one image; the command line takes it from the data.
        encoder: given (image_shape, 2 * latent_dim), returns the network whose outputs are the posterior's mean and log
            variance.
        decoder: given (latent_dim, image_shape), returns the network from latents to logits of images.
        latent_dim: length of z.
        beta: weight of the KL.
        likelihood: p(x | z): ``gaussian``, whose mean is the sigmoid of the decoder's output, or ``bernoulli``.
        variance: variance of the Gaussian likelihood. A Bernoulli log likelihood is divided by this value: 1 gives the
            true likelihood, and SimVAE's released code uses 0.01005.
        **kwargs: optimizer, schedule and decay_all, see `Method`.

    Example:
        ``ssl-bench bench --method vae --data digits``
    """

    family = "generative"

    def __init__(
        self,
        image_shape: tuple[int, ...],
        encoder: EncoderFactory,
        decoder: DecoderFactory,
        latent_dim: PositiveInt = 10,
        beta: NonNegativeFloat = 1.0,
        likelihood: Literal["gaussian", "bernoulli"] = "gaussian",
        variance: PositiveFloat = 0.01,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.feature_dim = latent_dim
        self.encoder = encoder(image_shape, 2 * latent_dim)
        self.decoder = decoder(latent_dim, image_shape)
        self.beta, self.likelihood, self.variance = beta, likelihood, variance

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q(z | x), both ``(N, latent_dim)``; float32 in mixed precision too."""
        mean, log_variance = self.encoder(x).float().chunk(2, dim=1)
        return mean, log_variance

    def encode(self, x: Tensor) -> Tensor:
        """The posterior mean of the encoder: ``(N, C, H, W)`` in [0, 1] to ``(N, latent_dim)``."""
        return self.posterior(x)[0]

    def log_likelihood(self, x: Tensor, logits: Tensor) -> Tensor:
        """log p(x | z) given the decoder's logits at z: ``(N,)``."""
        if self.likelihood == "bernoulli":
            return bernoulli_log_likelihood(x, logits) / self.variance
        return gaussian_log_likelihood(x, logits.sigmoid(), self.variance)

    def infer(self, views: Tensor) -> Posteriors:
        """Encode views ``(J, N, C, H, W)`` in [0, 1], sample one latent of each and decode it."""
        x = views.flatten(0, 1)
        mean, log_variance = self.posterior(x)
        logits = self.decoder(reparameterize(mean, log_variance)).float()
        terms = mean, log_variance, self.log_likelihood(x, logits)
        return Posteriors(*(term.unflatten(0, views.shape[:2]) for term in terms))

    def objective(self, q: Posteriors) -> dict[str, Tensor]:
        """Negative evidence lower bound (Kingma & Welling, Eq. 10), with the KL weighted by beta.

        Returns:
            The terms of each image, ``(N,)``, by name; and the scalar ``loss``, the mean over images of their sum.
        """
        log_likelihood = q.log_likelihood.sum(0)
        kl = kl_to_standard_normal(q.mean, q.log_variance).sum(0)
        loss = -log_likelihood.mean() + (self.beta * kl).mean()
        return {"log_likelihood": log_likelihood, "kl": kl, "loss": loss}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch."""
        terms = self.objective(self.infer(batch.images))
        self.log_metrics({name: term.detach().mean() for name, term in terms.items()})
        return terms["loss"]

    def sample(self, n: int, generator: Generator | None = None) -> Tensor:
        """n samples ``(n, C, H, W)`` in [0, 1], from latents of the prior."""
        return self.decode(self.latents(n, generator))

    def latents(self, n: int, generator: Generator | None = None) -> Tensor:
        """n standard normal latents ``(n, latent_dim)``."""
        device = self.device if generator is None else generator.device
        return torch.randn(n, self.feature_dim, generator=generator, device=device).to(self.device)

    def decode(self, z: Tensor) -> Tensor:
        """Images ``(n, C, H, W)`` in [0, 1]; `prior_latents` maps standard normal z to latents of the prior first."""
        return self.decoder(self.prior_latents(z)).float().sigmoid()

    def prior_latents(self, noise: Tensor) -> Tensor:
        """Map standard normal noise ``(n, latent_dim)`` to latents of the prior, of the same shape."""
        return noise

    def reconstruct(self, x: Tensor) -> Tensor:
        """The decoder at the posterior mean: same shape as x, in [0, 1]."""
        return self.decoder(self.encode(x)).float().sigmoid()
