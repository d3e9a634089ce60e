"""Variational autoencoder, and beta-VAE with one number changed."""

from typing import Any, Literal

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


class VAE(Method):
    """VAE (Kingma & Welling 2014); with beta other than 1, beta-VAE (Higgins et al. 2017).

    Minimises, summed over the views and averaged over the images of a batch, in nats per image,
    ``-log p(x | z) + beta * KL(q(z | x) || N(0, I))`` with one sample of z and the KL in closed form. Each view is
    an image of its own. SimVAE's released VAE baseline samples the KL instead and weighs its entropy by 2 pi.

    Args:
        image_shape: shape of one image; the command line takes it from the data.
        encoder: given (image_shape, outputs), returns the network ``(N, C, H, W) -> (N, outputs)``; its outputs
            are the posterior's mean and log variance.
        decoder: given (latent_dim, image_shape), returns the network from latents to logits of images.
        latent_dim: length of z.
        beta: weight of the KL.
        likelihood: p(x | z): ``gaussian`` about the decoder's sigmoid, or ``bernoulli``.
        variance: variance of the Gaussian likelihood. A Bernoulli has none; there the log likelihood is divided by
            it (1 is the true likelihood, SimVAE's released code has 0.01005).
        **kwargs: optimizer, schedule and decay_all, see `Method`.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        encoder: EncoderFactory,
        decoder: DecoderFactory,
        latent_dim: int = 10,
        beta: float = 1.0,
        likelihood: Literal["gaussian", "bernoulli"] = "gaussian",
        variance: float = 0.01,
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
        """log p(x | z) for the decoder's logits at z: ``(N,)``."""
        if self.likelihood == "bernoulli":
            return bernoulli_log_likelihood(x, logits) / self.variance
        return gaussian_log_likelihood(x, logits.sigmoid(), self.variance)

    def divergence(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """What the posteriors ``(J, N, L)`` of J views pay for leaving the prior: ``(N,)``."""
        return self.beta * kl_to_standard_normal(mean, log_variance).sum(0)

    def bound(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """Log likelihood and divergence of each image, both ``(N,)``, of views ``(J, N, C, H, W)`` in [0, 1].

        Their difference is the evidence lower bound of the image's views (for beta 1).
        """
        x = views.flatten(0, 1)
        mean, log_variance = self.posterior(x)
        logits = self.decoder(reparameterize(mean, log_variance)).float()
        shape = views.shape[:2]
        divergence = self.divergence(mean.unflatten(0, shape), log_variance.unflatten(0, shape))
        return self.log_likelihood(x, logits).unflatten(0, shape).sum(0), divergence

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Negative bound of the batch, averaged over its images."""
        log_likelihood, divergence = (term.mean() for term in self.bound(batch.images))
        loss = divergence - log_likelihood
        self.log_metrics({"loss": loss, "log_likelihood": log_likelihood, "divergence": divergence})
        return loss

    def sample(self, n: int, generator: Generator | None = None) -> Tensor:
        """n images ``(n, C, H, W)`` in [0, 1] from latents of the prior."""
        return self.decode(self.latents(n, generator))

    def latents(self, n: int, generator: Generator | None = None) -> Tensor:
        """n standard normal latents ``(n, latent_dim)``."""
        device = self.device if generator is None else generator.device
        return torch.randn(n, self.feature_dim, generator=generator, device=device).to(self.device)

    def decode(self, z: Tensor) -> Tensor:
        """Images ``(n, C, H, W)`` in [0, 1]: the decoder where the prior has standard normal latents z."""
        return self.decoder(self.prior_latents(z)).float().sigmoid()

    def prior_latents(self, noise: Tensor) -> Tensor:
        """Latents of the prior from standard normal noise ``(n, latent_dim)``."""
        return noise

    def reconstruct(self, x: Tensor) -> Tensor:
        """The decoder at the posterior mean: same shape as x, in [0, 1]."""
        return self.decoder(self.encode(x)).float().sigmoid()
