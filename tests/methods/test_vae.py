"""What sets the methods of the VAE family apart."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from ssl_bench.data.types import Batch, TrainingInputs
from ssl_bench.errors import UserError
from ssl_bench.losses.variational import Prior, kl_gaussian, kl_to_standard_normal, set_log_prior
from ssl_bench.methods.checkpoint import load_method
from ssl_bench.methods.cr_vae import CRVAE
from ssl_bench.methods.simvae import SimVAE
from ssl_bench.methods.vae import VAE, Posteriors
from ssl_bench.networks.mlp import MLPDecoder, MLPEncoder

SHAPE = (1, 4, 4)


def networks() -> dict[str, Any]:
    return {
        "image_shape": SHAPE,
        "latent_dim": 2,
        "encoder": lambda shape, outputs: MLPEncoder(shape, outputs, (8,)),
        "decoder": lambda inputs, shape: MLPDecoder(inputs, shape, (8,)),
    }


@pytest.fixture
def views() -> torch.Tensor:
    return torch.rand(3, 5, *SHAPE, generator=torch.Generator().manual_seed(0))


def log_prior_of_vae(z: torch.Tensor) -> torch.Tensor:
    """log N(z; 0, I) of every view, ``(S, J, N, L) -> (S, N)``."""
    log_density: torch.Tensor = Normal(0.0, 1.0).log_prob(z).sum((1, 3))
    return log_density


def log_prior_of_simvae(z: torch.Tensor) -> torch.Tensor:
    """With y ~ N(0, I) integrated out, a dimension's J latents are N(0, sigma^2 I + 1 1^T)."""
    views = z.shape[1]
    joint = MultivariateNormal(torch.zeros(views), 0.15 * torch.eye(views) + torch.ones(views, views))
    log_density: torch.Tensor = joint.log_prob(z.movedim(1, -1)).sum(-1)
    return log_density


@pytest.mark.parametrize(
    ("method", "settings", "divergence_of", "log_prior"),
    [
        (VAE, {}, lambda terms: terms["kl"], log_prior_of_vae),
        (
            SimVAE,
            {"prior": "gaussian"},
            lambda terms: -terms["entropy"] - terms["log_prior"],
            log_prior_of_simvae,
        ),
    ],
)
def test_bound_is_below_the_importance_sampled_log_likelihood_and_near_it(
    method: type[VAE],
    settings: dict[str, Any],
    divergence_of: Callable[[dict[str, torch.Tensor]], torch.Tensor],
    log_prior: Callable[[torch.Tensor], torch.Tensor],
    views: torch.Tensor,
) -> None:
    """Trained a while, so that the divergence is several nats: without it, or with its sign wrong, this fails."""
    torch.manual_seed(0)
    vae, samples = method(**networks(), variance=0.05, **settings), 20000
    optimizer = torch.optim.Adam(vae.parameters(), 0.01)
    for _ in range(300):
        optimizer.zero_grad()
        vae.objective(vae.infer(views))["loss"].backward()
        optimizer.step()
    with torch.no_grad():
        terms = [vae.objective(vae.infer(views)) for _ in range(2000)]
        divergence = divergence_of(terms[0])
        bound = torch.stack([term["log_likelihood"] for term in terms]).mean(0) - divergence
        mean, log_variance = (t.unflatten(0, views.shape[:2]) for t in vae.posterior(views.flatten(0, 1)))
        q = Normal(mean, (log_variance / 2).exp())
        z = q.sample(torch.Size([samples]))
        decoded = vae.decoder(z.flatten(0, 2)).sigmoid().view(samples, *views.shape)
        log_x = Normal(decoded, math.sqrt(0.05)).log_prob(views).sum((1, 3, 4, 5))
        weights = log_x + log_prior(z) - q.log_prob(z).sum((1, 3))
        log_likelihood = torch.logsumexp(weights, 0) - math.log(samples)
    gap = log_likelihood - bound
    assert (gap > 0).all()
    assert (gap < 0.5 * divergence).all()


def test_a_vae_treats_each_view_as_an_image(views: torch.Tensor) -> None:
    vae = VAE(**networks())
    together = vae.objective(vae.infer(views))["kl"]
    apart = torch.stack([kl_to_standard_normal(*vae.posterior(view)) for view in views]).sum(0)
    torch.testing.assert_close(together, apart)


def test_beta_weights_the_kl_alone(views: torch.Tensor) -> None:
    torch.manual_seed(0)
    vae = VAE(**networks())
    q = vae.infer(views)
    vae.beta = 1.2
    terms = vae.objective(q)
    torch.testing.assert_close(terms["log_likelihood"], q.log_likelihood.sum(0))
    torch.testing.assert_close(terms["loss"], (1.2 * terms["kl"] - terms["log_likelihood"]).mean())


def test_consistency_of_cr_vae_is_the_kl_of_later_views_from_the_first(views: torch.Tensor) -> None:
    method = CRVAE(gamma=0.5, **networks())
    posteriors = [method.posterior(view) for view in views]
    kl = torch.stack([kl_to_standard_normal(*posterior) for posterior in posteriors]).sum(0)
    consistency = torch.stack([kl_gaussian(*posterior, *posteriors[0]) for posterior in posteriors[1:]]).sum(0)
    terms = method.objective(method.infer(views))
    expected = (kl + 0.5 * consistency - terms["log_likelihood"]).mean()
    torch.testing.assert_close(terms["consistency"], consistency)
    torch.testing.assert_close(terms["loss"], expected)


def test_simvae_pulls_views_of_an_image_together(views: torch.Tensor) -> None:
    method = SimVAE(**networks())
    log_variance, log_likelihood = torch.zeros(2, 1, 2), torch.zeros(2, 1)
    apart = torch.tensor([[[1.0, 0.0]], [[-1.0, 0.0]]], requires_grad=True)
    method.objective(Posteriors(apart, log_variance, log_likelihood))["loss"].backward()
    # d/dz^j of (1 / 2 sigma^2) sum_j ||z^j - zbar||^2 = (z^j - zbar) / sigma^2
    torch.testing.assert_close(apart.grad, apart.detach() / 0.15)


@pytest.mark.parametrize("method", [SimVAE, CRVAE])
def test_one_view_is_refused_where_views_are_compared(method: type[VAE]) -> None:
    inputs = TrainingInputs(8, 8, processes=1, views=1, generated=False, black=(0.0,), white=(1.0,))
    with pytest.raises(UserError, match=r"got 1 view, needs 2 or more: set --views\.num_views"):
        method(**networks()).check_inputs(inputs)
    method(**networks()).check_inputs(replace(inputs, generated=True))


def test_samples_of_simvae_come_from_where_its_latents_lie(views: torch.Tensor) -> None:
    torch.manual_seed(0)
    method = SimVAE(**networks())
    mean = torch.tensor([5.0, -3.0]) + torch.randn(2, 500, 2) * torch.tensor([2.0, 0.5])
    for _ in range(600):
        method.update_latent_moments(mean, torch.full_like(mean, -4.0))
    z = method.prior_latents(torch.randn(20000, 2))
    torch.testing.assert_close(z.mean(0), torch.tensor([5.0, -3.0]), atol=0.3, rtol=0.0)
    torch.testing.assert_close(z.std(0), torch.tensor([2.0, 0.5]), atol=0.2, rtol=0.0)


@pytest.mark.parametrize("prior", ["gaussian", "gaussian_plug_in"])
@pytest.mark.parametrize("num_views", [1, 2, 6])
def test_samples_of_a_gaussian_prior_have_the_variance_of_its_density(prior: Prior, num_views: int) -> None:
    """The variance of z^1 under the normal density of z^1, ..., z^J whose logarithm `set_log_prior` computes."""
    method = SimVAE(**networks(), sigma2=0.4, prior=prior)
    method.training_step(Batch(torch.rand(num_views, 5, *SHAPE), torch.zeros(5), torch.arange(5)), 0)

    def log_density(z: torch.Tensor) -> torch.Tensor:  # of one dimension; exp(-60) is no variance of a posterior
        return set_log_prior(z[:, None, None], torch.full((num_views, 1, 1), -60.0), 0.4, prior)[0]

    precision = -torch.autograd.functional.hessian(log_density, torch.zeros(num_views, dtype=torch.float64))
    variance = torch.linalg.inv(precision)[0, 0].float()
    sampled = method.prior_latents(torch.ones(1, 2))
    torch.testing.assert_close(sampled.square(), variance.expand(1, 2))


def test_only_a_training_step_updates_the_moments_of_latents(views: torch.Tensor) -> None:
    method = SimVAE(**networks())
    method.objective(method.infer(views))
    assert not method.latent_mean.any()
    method.training_step(Batch(views, torch.zeros(5), torch.arange(5)), 0)
    assert method.latent_mean.all()


def test_a_checkpoint_of_another_method_is_refused() -> None:
    vae = VAE(**networks())
    vae.config = {"class_path": "ssl_bench.methods.vae.VAE"}
    with pytest.raises(UserError, match=r"checkpoint is of ssl_bench\.methods\.simvae\.SimVAE, not of"):
        vae.on_load_checkpoint({"method": {"class_path": "ssl_bench.methods.simvae.SimVAE"}})


def test_load_method_names_the_missing_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint at"):
        load_method(tmp_path)


def test_views_are_made_after_the_transfer(views: torch.Tensor) -> None:
    vae = VAE(**networks())
    vae.views = lambda images, ids: torch.stack([images, images + 1])
    images = torch.zeros(4, *SHAPE)
    batch = vae.on_after_batch_transfer(Batch(images, torch.zeros(4), torch.arange(4)), 0)
    assert torch.equal(batch.images[1], images + 1)
