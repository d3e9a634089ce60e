"""LeJEPA's losses: the statistic against its closed form and a loop, the loss of views against numpy, two ranks."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ssl_bench import distributed
from ssl_bench.losses.sigreg import directions, epps_pulley, prediction, sigreg
from tests.ranks import Ranks


def closed_form(z: np.ndarray) -> float:
    """The integral over all t: of |phi_hat|^2 phi, -2 Re(phi_hat) phi^2 and phi^3."""
    pairs = np.exp(-((z[:, None] - z) ** 2) / 2).mean() * math.sqrt(2 * math.pi)
    crossed = np.exp(-(z**2) / 4).mean() * math.sqrt(math.pi)
    return float(len(z) * (pairs - 2 * crossed + math.sqrt(2 * math.pi / 3)))


def embeddings(n: int, d: int) -> Tensor:
    return 0.3 + 1.7 * torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_statistic_is_the_integral_in_closed_form() -> None:
    z = embeddings(12, 3)
    expected = torch.tensor([closed_form(column) for column in z.T.numpy()], dtype=torch.float64)
    torch.testing.assert_close(epps_pulley(z, t_max=12.0, knots=401), expected)


def test_default_points_are_the_17_of_algorithm_1() -> None:
    z = embeddings(12, 1)
    t = np.linspace(-5, 5, 17)
    phi = np.exp(-(t**2) / 2)
    squared = np.abs(np.exp(1j * z.numpy() * t).mean(0) - phi) ** 2
    torch.testing.assert_close(epps_pulley(z).item(), 12 * np.trapezoid(squared * phi, t))


def test_statistic_of_gaussian_samples_has_its_expectation_and_of_collapsed_ones_is_large() -> None:
    gaussian = epps_pulley(torch.randn(200, 4_000, generator=torch.Generator().manual_seed(1))).mean()
    expectation = math.sqrt(2 * math.pi) * (1 - 1 / math.sqrt(3))  # the integral of (1 - phi^2) phi
    assert gaussian.item() == pytest.approx(expectation, rel=0.1)
    assert epps_pulley(torch.zeros(1_000, 50)).mean() > 300


def test_sigreg_is_the_mean_over_directions() -> None:
    z, a = embeddings(9, 4), directions(6, 4, seed=3).double()
    expected = torch.stack([epps_pulley((z @ one)[:, None])[0] for one in a]).mean()
    torch.testing.assert_close(sigreg(z, a), expected)


def test_directions_have_length_1_and_depend_on_the_seed_only() -> None:
    a = directions(5, 3, seed=7)
    torch.testing.assert_close(a.norm(dim=1), torch.ones(5))
    assert torch.equal(a, directions(5, 3, seed=7))
    assert not torch.equal(a, directions(5, 3, seed=8))


@pytest.mark.parametrize("num_global", [2, 3])
def test_prediction_is_the_distance_from_the_mean_of_the_global_views(num_global: int) -> None:
    z = embeddings(15, 4).view(3, 5, 4)
    by_hand = [((z[:num_global, n].mean(0) - z[v, n]) ** 2).sum() / 4 for v in range(3) for n in range(5)]
    torch.testing.assert_close(prediction(z, num_global), torch.stack(by_hand).mean())


def gradient(n: int) -> tuple[Tensor, Tensor]:
    rank, size = distributed.rank(), distributed.world_size()
    share = embeddings(n, 4)[rank * n // size : (rank + 1) * n // size].requires_grad_()
    loss = sigreg(share, directions(6, 4, seed=3).double())
    loss.backward()
    assert share.grad is not None
    return loss.detach(), share.grad / size


def test_two_ranks_equal_one(ranks: Ranks) -> None:
    loss, whole = gradient(10)
    results = ranks(gradient, 10)
    for on_rank, _ in results:
        torch.testing.assert_close(on_rank, loss)
    torch.testing.assert_close(torch.cat([part for _, part in results]), whole)
