"""The terms of variational lower bounds with diagonal Gaussian posteriors.

Every function sums over the dimensions of one image (or of one latent), in nats, and keeps the batch dimension; the
caller averages. There is no communication between ranks: DDP averages means over images.
`log_variance` is the natural logarithm of the variance everywhere.
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_bench.ranges import PositiveFloat, check_ranges

LOG_2PI = math.log(2 * math.pi)
Prior = Literal["uniform", "gaussian", "gaussian_plug_in"]


@check_ranges
def gaussian_log_likelihood(x: Tensor, mean: Tensor, variance: PositiveFloat) -> Tensor:
    """log N(x; mean, variance I), summed over all but the first dimension: ``(N, ...) -> (N,)``."""
    squared = (x - mean).square().flatten(1).sum(1)
    return -0.5 * (squared / variance + x[0].numel() * (LOG_2PI + math.log(variance)))


def bernoulli_log_likelihood(x: Tensor, logits: Tensor) -> Tensor:
    """log Bernoulli(x; sigmoid(logits)), summed over all but the first dimension: ``(N, ...) -> (N,)``.

    Values of x in [0, 1] are treated as probabilities, as in the usual binary cross-entropy.
    """
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)


def gaussian_entropy(log_variance: Tensor) -> Tensor:
    """Entropy of a diagonal Gaussian: ``(..., L) -> (...)``."""
    return 0.5 * (log_variance + LOG_2PI + 1).sum(-1)


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL( N(mean, variance) || N(0, I) ), Kingma & Welling 2014, appendix B: ``(..., L) -> (...)``."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1)


def kl_gaussian(mean: Tensor, log_variance: Tensor, other_mean: Tensor, other_log_variance: Tensor) -> Tensor:
    """KL( N(mean, variance) || N(other_mean, other_variance) ), diagonal: ``(..., L) -> (...)``."""
    scaled = (mean - other_mean).square() * (-other_log_variance).exp()
    ratio = log_variance - other_log_variance
    return 0.5 * (scaled + ratio.exp() - 1 - ratio).sum(-1)


@check_ranges
def set_log_prior(mean: Tensor, log_variance: Tensor, variance: PositiveFloat, prior: Prior) -> Tensor:
    """Expected log density of a set of latents that share one unknown centre y (SimVAE, Eq. 6 and 7).

    p(z^1..z^J) = integral of prod_j N(z^j; y, variance I) p(y) over y. As a function of y, the product is a Gaussian
    about the mean latent, times a factor that depends on the spread of the latents about their mean. The integral of
    p(y) times the Gaussian is in closed form, and so is the expectation under independent z^j ~ N(mean^j, variance^j).
    The released code estimates the expectation from one sample, without bias.

    Args:
        mean: posterior means ``(J, N, L)``, J views of N images.
        log_variance: posterior log variances ``(J, N, L)``.
        variance: sigma^2 of p(z | y).
        prior: p(y). ``uniform`` is improper, with density 1 (the paper's Algorithm 1). ``gaussian`` is N(0, I) and is
            integrated exactly: the mean latent is N(0, (1 + sigma^2 / J) I). ``gaussian_plug_in`` evaluates N(0, I) at
            the mean latent, as the released code does.

    Returns:
        ``(N,)``, in nats.
    """
    views, _, dim = mean.shape
    centre, posterior = mean.mean(0), log_variance.exp()
    spread = (mean - centre).square().sum((0, 2)) + (1 - 1 / views) * posterior.sum((0, 2))
    log_volume = (views - 1) * (LOG_2PI + math.log(variance)) + math.log(views)
    log_prior = -0.5 * (spread / variance + dim * log_volume)
    if prior == "uniform":
        return log_prior
    centre_variance = 1 + variance / views if prior == "gaussian" else 1.0
    centre_square = centre.square().sum(1) + posterior.sum((0, 2)) / views**2
    return log_prior - 0.5 * (centre_square / centre_variance + dim * (LOG_2PI + math.log(centre_variance)))


def reparameterize(mean: Tensor, log_variance: Tensor) -> Tensor:
    """One sample of N(mean, variance), differentiable in both (Kingma & Welling 2014, section 2.4)."""
    return mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
