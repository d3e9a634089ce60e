"""Diffusion: the schedule, noising and steps of sampling against direct computations and a Gaussian in closed form."""

import numpy as np
import pytest
import torch

from ssl_bench.losses.diffusion import ancestral_step, ddim_step, denoise, diffuse, linear_schedule

ALPHA_BAR = linear_schedule()


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_schedule_is_the_product_of_linear_betas() -> None:
    expected = np.cumprod([1 - (1e-4 + (0.02 - 1e-4) * t / 999) for t in range(1000)])
    np.testing.assert_allclose(ALPHA_BAR.numpy(), expected)


def test_noising_in_steps_has_the_moments_of_noising_at_once() -> None:
    x, variance = 1.7, 0.0
    for t in range(200):
        beta = 1e-4 + (0.02 - 1e-4) * t / 999
        x, variance = (1 - beta) ** 0.5 * x, (1 - beta) * variance + beta
    at = torch.tensor([199])
    assert diffuse(torch.full((1, 1), 1.7).double(), at, torch.zeros(1, 1), ALPHA_BAR).item() == pytest.approx(x)
    assert diffuse(torch.zeros(1, 1).double(), at, torch.ones(1, 1), ALPHA_BAR).item() ** 2 == pytest.approx(variance)


def test_denoise_is_the_inverse_of_diffuse() -> None:
    x, noise, t = normal(0, 3, 2, 4, 4), normal(1, 3, 2, 4, 4), torch.tensor([0, 500, 999])
    torch.testing.assert_close(denoise(diffuse(x, t, noise, ALPHA_BAR), t, noise, ALPHA_BAR), x)


@pytest.mark.parametrize("t", [1, 10, 999])
def test_ancestral_step_equals_the_formula_of_algorithm_2(t: int) -> None:
    """x_{t-1} = (x_t - beta / sqrt(1 - alpha_bar) eps) / sqrt(alpha) + sqrt(beta) z, where x_0 is not clipped."""
    x_t, eps, z = normal(0, 2, 5), normal(1, 2, 5), normal(2, 2, 5)
    beta = 1e-4 + (0.02 - 1e-4) * t / 999
    expected = (x_t - beta / (1 - ALPHA_BAR[t]).sqrt() * eps) / (1 - beta) ** 0.5 + beta**0.5 * z
    x_0 = denoise(x_t, torch.full((2,), t), eps, ALPHA_BAR)
    torch.testing.assert_close(ancestral_step(x_t, t, x_0, z, ALPHA_BAR), expected)


def test_last_step_gives_the_image() -> None:
    x_t, x_0 = normal(0, 2, 5), normal(1, 2, 5)
    assert torch.equal(ancestral_step(x_t, 0, x_0, x_t, ALPHA_BAR), x_0)
    assert torch.equal(ddim_step(x_t, 20, -1, x_0, ALPHA_BAR), x_0)


MEAN, DEVIATION = 0.3, 0.5


def optimal_x_0(x_t: torch.Tensor, t: int) -> torch.Tensor:
    """The mean of x_0 given x_t where x_0 ~ N(MEAN, DEVIATION^2)."""
    bar = ALPHA_BAR[t].item()
    gain = bar**0.5 * DEVIATION**2 / (bar * DEVIATION**2 + 1 - bar)
    expected: torch.Tensor = MEAN + gain * (x_t - bar**0.5 * MEAN)
    return expected


def test_ancestral_sampling_with_the_optimal_denoiser_recovers_a_gaussian() -> None:
    x = normal(0, 20_000)
    for t in reversed(range(1000)):
        x = ancestral_step(x, t, optimal_x_0(x, t), normal(t + 1, 20_000), ALPHA_BAR)
    assert x.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert x.std().item() == pytest.approx(DEVIATION, abs=0.02)


def test_ddim_with_the_optimal_denoiser_recovers_a_gaussian() -> None:
    x = normal(0, 20_000)
    for t in reversed(range(1000)):
        x = ddim_step(x, t, t - 1, optimal_x_0(x, t), ALPHA_BAR)
    assert x.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert x.std().item() == pytest.approx(DEVIATION, abs=0.02)
