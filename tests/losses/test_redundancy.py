"""VICReg's and Barlow Twins' losses against their equations in numpy, alone and on two ranks."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from ssl_bench import distributed
from ssl_bench.losses.redundancy import barlow_twins, covariance, invariance, variance
from tests.ranks import Ranks

N, D = 6, 5


def embeddings(seed: int = 0) -> Tensor:
    """Embeddings whose standard deviations lie on both sides of 1, with another mean in each half."""
    z = torch.randn(N, D, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return z * torch.linspace(0.2, 2, D) + torch.linspace(-0.3, 0.3, N)[:, None]


def test_invariance_is_the_squared_distance_of_the_views_per_component() -> None:
    z, z_prime = embeddings(), embeddings(1)
    distances = [np.sum((z[i] - z_prime[i]).numpy() ** 2) for i in range(N)]
    assert invariance(z, z_prime).item() == pytest.approx(np.mean(distances) / D)


def test_variance_is_the_hinge_of_each_standard_deviation() -> None:
    z = embeddings()
    deviations = np.sqrt(np.var(z.numpy(), axis=0, ddof=1) + 1e-4)
    assert (deviations > 1).any()
    assert (deviations < 1).any()
    assert variance(z).item() == pytest.approx(np.maximum(0, 1 - deviations).mean())


def test_variance_of_equal_embeddings_has_a_finite_gradient() -> None:
    z = torch.ones(N, D, requires_grad=True)
    variance(z).backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()


def test_covariance_sums_the_squares_of_different_components() -> None:
    z = embeddings()
    c = np.cov(z.numpy(), rowvar=False)
    expected = sum(c[i, j] ** 2 for i in range(D) for j in range(D) if i != j) / D
    assert covariance(z).item() == pytest.approx(expected)


def test_barlow_twins_compares_the_correlations_with_the_identity() -> None:
    z_a, z_b = embeddings(), embeddings(1)
    c = np.corrcoef(z_a.numpy(), z_b.numpy(), rowvar=False)[:D, D:]
    expected = sum((1 - c[i, i]) ** 2 for i in range(D))
    expected += 0.02 * sum(c[i, j] ** 2 for i in range(D) for j in range(D) if i != j)
    assert barlow_twins(z_a, z_b, 0.02, eps=1e-12).item() == pytest.approx(expected)


def test_barlow_twins_of_a_constant_component_is_finite() -> None:
    z = embeddings()
    z[:, 0] = 3
    assert barlow_twins(z, embeddings(1)).isfinite()


def of_a_share(loss: Callable[..., Tensor], *given: Tensor) -> list[Tensor]:
    """The loss of this rank's images, and gradients averaged over ranks as DistributedDataParallel does."""
    rank, size = distributed.rank(), distributed.world_size()
    weight = torch.eye(D, dtype=torch.float64).requires_grad_()
    part = slice(rank * N // size, (rank + 1) * N // size)
    value = loss(*(z[part] @ weight for z in given))
    value.backward()
    distributed.average_gradients([weight])
    return [distributed.all_reduce_sum(value) / size, weight.grad]  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("loss", "given"),
    [
        (invariance, [embeddings(), embeddings(1)]),
        (variance, [embeddings()]),
        (covariance, [embeddings()]),
        (barlow_twins, [embeddings(), embeddings(1)]),
    ],
    ids=["invariance", "variance", "covariance", "barlow_twins"],
)
def test_two_ranks_equal_one_gradients_included(loss: Callable[..., Tensor], given: list[Tensor], ranks: Ranks) -> None:
    alone = of_a_share(loss, *given)
    for on_rank in ranks(of_a_share, loss, *given):
        torch.testing.assert_close(on_rank, alone, rtol=1e-5, atol=1e-5)
