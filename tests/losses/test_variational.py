"""The bound's terms against torch.distributions, integrals on a grid and importance sampling."""

import math

import pytest
import torch
from torch.distributions import Bernoulli, Distribution, Independent, MultivariateNormal, Normal, kl_divergence

from ssl_bench.losses.variational import (
    Prior,
    bernoulli_log_likelihood,
    gaussian_entropy,
    gaussian_log_likelihood,
    kl_gaussian,
    kl_to_standard_normal,
    reparameterize,
    set_log_prior,
)

PRIORS: tuple[Prior, ...] = ("uniform", "gaussian", "gaussian_plug_in")


def normal(mean: torch.Tensor, log_variance: torch.Tensor) -> Distribution:
    return Independent(Normal(mean, (log_variance / 2).exp()), 1)


@pytest.fixture
def posterior() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 5, 2, generator=generator), torch.randn(3, 5, 2, generator=generator)


def test_gaussian_log_likelihood_is_that_of_torch_distributions() -> None:
    x, mean = torch.rand(4, 1, 3, 3), torch.rand(4, 1, 3, 3)
    expected = Normal(mean, math.sqrt(0.3)).log_prob(x).sum((1, 2, 3))
    torch.testing.assert_close(gaussian_log_likelihood(x, mean, 0.3), expected)


def test_bernoulli_log_likelihood_is_that_of_torch_distributions() -> None:
    x, logits = torch.rand(4, 1, 3, 3).round(), torch.randn(4, 1, 3, 3)
    expected = Bernoulli(logits=logits).log_prob(x).sum((1, 2, 3))
    torch.testing.assert_close(bernoulli_log_likelihood(x, logits), expected)


def test_entropy_is_that_of_torch_distributions(posterior: tuple[torch.Tensor, torch.Tensor]) -> None:
    torch.testing.assert_close(gaussian_entropy(posterior[1]), normal(*posterior).entropy())


def test_kl_to_standard_normal_is_that_of_torch_distributions(posterior: tuple[torch.Tensor, torch.Tensor]) -> None:
    standard = normal(torch.zeros(2), torch.zeros(2))
    torch.testing.assert_close(kl_to_standard_normal(*posterior), kl_divergence(normal(*posterior), standard))


def test_kl_gaussian_is_that_of_torch_distributions(posterior: tuple[torch.Tensor, torch.Tensor]) -> None:
    mean, log_variance = posterior
    expected = kl_divergence(normal(mean[0], log_variance[0]), normal(mean[1], log_variance[1]))
    torch.testing.assert_close(kl_gaussian(mean[0], log_variance[0], mean[1], log_variance[1]), expected)


def log_density_of_set(z: torch.Tensor, variance: float, prior: Prior) -> torch.Tensor:
    """The integral over the centre y by a sum over a grid; z ``(J, N, 1)``."""
    y = torch.linspace(-40, 40, 20001, dtype=torch.float64)
    log_terms = Normal(y, math.sqrt(variance)).log_prob(z).sum(0)
    if prior == "gaussian":
        log_terms = log_terms + Normal(0.0, 1.0).log_prob(y)
    log_density = torch.logsumexp(log_terms, -1) + math.log(80 / 20000)
    if prior == "gaussian_plug_in":
        log_density = log_density + Normal(0.0, 1.0).log_prob(z.mean(0)[:, 0])
    return log_density


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("views", [2, 6])
def test_set_log_prior_of_certain_latents_integrates_out_their_centre(prior: Prior, views: int) -> None:
    z = torch.randn(views, 4, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    certain = torch.full_like(z, -80.0)
    torch.testing.assert_close(
        set_log_prior(z, certain, 0.15, prior), log_density_of_set(z, 0.15, prior), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("prior", PRIORS)
def test_set_log_prior_is_the_mean_over_samples_of_the_posterior(
    prior: Prior, posterior: tuple[torch.Tensor, torch.Tensor]
) -> None:
    mean, log_variance = posterior[0].double(), posterior[1].double() - 2
    torch.manual_seed(0)
    samples = reparameterize(mean.repeat(1, 20000, 1), log_variance.repeat(1, 20000, 1))
    certain = set_log_prior(samples, torch.full_like(samples, -80.0), 0.15, prior)
    expected = certain.view(20000, -1)
    error = expected.std(0) / 20000**0.5
    assert ((set_log_prior(mean, log_variance, 0.15, prior) - expected.mean(0)).abs() < 4 * error).all()


def test_gaussian_set_prior_is_a_multivariate_normal_with_shared_covariance() -> None:
    z, variance = torch.randn(3, 5, 1, dtype=torch.float64), 0.2
    joint = MultivariateNormal(torch.zeros(3, dtype=torch.float64), variance * torch.eye(3) + torch.ones(3, 3).double())
    ours = set_log_prior(z, torch.full_like(z, -80.0), variance, "gaussian")
    torch.testing.assert_close(ours, joint.log_prob(z[..., 0].mT))


def test_entropy_term_keeps_posteriors_from_collapsing() -> None:
    """Algorithm 1 as printed has the other sign, under which the smallest variance is best."""
    log_variance = torch.linspace(-10, 4, 200)
    mean = torch.zeros(2, 200, 1)
    loss = -2 * gaussian_entropy(log_variance[:, None]) - set_log_prior(
        mean, log_variance[None, :, None].expand(2, -1, -1), 0.15, "uniform"
    )
    best = log_variance[loss.argmin()].exp()
    # d/dv: -1/v + (1 - 1/J) / sigma^2 = 0
    torch.testing.assert_close(best, torch.tensor(0.15 / 0.5), rtol=0.1, atol=0.0)


def test_reparameterize_passes_gradients_to_mean_and_variance() -> None:
    mean, log_variance = torch.zeros(2, 3, requires_grad=True), torch.zeros(2, 3, requires_grad=True)
    z = reparameterize(mean, log_variance)
    z.sum().backward()
    torch.testing.assert_close(mean.grad, torch.ones(2, 3))
    torch.testing.assert_close(log_variance.grad, z.detach() / 2)
