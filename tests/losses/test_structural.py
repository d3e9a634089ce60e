"""The structural objectives against distributions of torch and SciPy, plain loops and finite differences."""

import itertools
import math
from collections.abc import Callable
from typing import Literal

import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm as normal
from torch import Tensor
from torch.distributions import MultivariateNormal
from torch.nn import functional as F

from ssl_bench.errors import UserError
from ssl_bench.losses.structural import (
    Covariance,
    LogDeterminants,
    bhattacharyya,
    jensen_shannon,
    neighbour_indices,
    neighbour_similarity,
    norm_hinge,
)

COVARIANCES: tuple[Covariance, ...] = ("full", "diagonal")
Distance = Callable[[Tensor, Tensor, Covariance, float], tuple[Tensor, LogDeterminants]]
distances = pytest.mark.parametrize("distance", [jensen_shannon, bhattacharyya])
covariances = pytest.mark.parametrize("covariance", COVARIANCES)


def embeddings(count: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    scales = torch.linspace(0.5, 2, 4, dtype=dtype)
    return F.normalize(seed + scales * torch.randn(count, 4, generator=generator, dtype=dtype), dim=1)


REAL, FAKE = embeddings(24, 0), embeddings(16, 1)


def entropy(z: Tensor, about: Tensor, covariance: Covariance, ridge: float) -> Tensor:
    moments = torch.stack([torch.outer(row - about, row - about) for row in z]).mean(0) + ridge / 4 * torch.eye(4)
    gaussian = MultivariateNormal(about, moments * torch.eye(4) if covariance == "diagonal" else moments)
    value: Tensor = gaussian.entropy()
    return value


@pytest.mark.parametrize(("covariance", "ridge"), [("full", 0.5), ("full", 2.0), ("diagonal", 0.5), ("diagonal", 0.0)])
def test_jensen_shannon_is_the_mixtures_entropy_less_the_mean_entropy(covariance: Covariance, ridge: float) -> None:
    def of(z: Tensor) -> Tensor:
        mean = z.mean(0)
        return entropy(z, mean / mean.norm() if covariance == "full" else mean, covariance, ridge)

    expected = of(torch.cat([REAL, FAKE])) - (of(REAL) + of(FAKE)) / 2
    torch.testing.assert_close(jensen_shannon(REAL, FAKE, covariance, ridge)[0], expected)


def test_full_jensen_shannon_is_the_released_expression() -> None:
    def released(z: Tensor) -> Tensor:
        m = z.mean(0) / z.mean(0).norm()
        return torch.logdet(torch.eye(4) + 4 / 0.5 * (z - m).T @ (z - m) / (len(z) + 1e-5))

    expected = 0.5 * (released(torch.cat([REAL, FAKE])) - 0.5 * (released(REAL) + released(FAKE)))
    torch.testing.assert_close(jensen_shannon(REAL, FAKE)[0], expected, rtol=1e-5, atol=0)


@covariances
def test_bhattacharyya_is_its_closed_form(covariance: Covariance) -> None:
    one, other = (torch.cov(z.T, correction=0) + 0.5 / 4 * torch.eye(4) for z in (REAL, FAKE))
    if covariance == "diagonal":
        one, other = one * torch.eye(4), other * torch.eye(4)
    gap, mean = REAL.mean(0) - FAKE.mean(0), (one + other) / 2
    ratio = mean.det() / (one.det() * other.det()).sqrt()
    expected = gap @ mean.inverse() @ gap / 8 + ratio.log() / 2
    torch.testing.assert_close(bhattacharyya(REAL, FAKE, covariance)[0], expected)


def test_bhattacharyya_is_minus_log_of_the_overlap_of_two_densities() -> None:
    one, other = REAL[:, :1], FAKE[:, :1]
    first, second = (normal(z.mean().item(), z.std(correction=0).item()) for z in (one, other))
    overlap = quad(lambda x: math.sqrt(first.pdf(x) * second.pdf(x)), -10, 10, points=[0])[0]
    for covariance in COVARIANCES:
        ours = bhattacharyya(one, other, covariance, 0.0)[0].item()
        assert ours == pytest.approx(-math.log(overlap), rel=1e-6)


@distances
@covariances
def test_equal_batches_are_at_no_distance(distance: Distance, covariance: Covariance) -> None:
    torch.testing.assert_close(distance(REAL, REAL, covariance, 0.5)[0], torch.zeros((), dtype=torch.float64))


@distances
def test_different_batches_are_at_a_positive_and_symmetric_distance(distance: Distance) -> None:
    for covariance, (one, other) in itertools.product(COVARIANCES, [(REAL, FAKE), (REAL, REAL[:16]), (FAKE, -FAKE)]):
        there, back = distance(one, other, covariance, 0.5)[0], distance(other, one, covariance, 0.5)[0]
        assert there > 0
        torch.testing.assert_close(there, back)


@distances
@covariances
def test_gradients_of_distances_are_those_of_finite_differences(distance: Distance, covariance: Covariance) -> None:
    inputs = REAL.clone().requires_grad_(), FAKE.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda real, fake: distance(real, fake, covariance, 0.5)[0], inputs)


@distances
@covariances
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_found_in_its_log_determinant(
    distance: Distance, covariance: Covariance, value: float
) -> None:
    spoilt = FAKE.clone()
    spoilt[3, 2] = value
    total, logs = distance(REAL, spoilt, covariance, 0.5)
    assert total.isnan()
    assert [name for name, log in logs._asdict().items() if not log.isfinite()] == ["fake", "pooled"]


@distances
def test_a_covariance_without_a_determinant_is_not_finite(distance: Distance) -> None:
    flat = REAL * torch.tensor([1.0, 1.0, 0.0, 1.0])
    for covariance in COVARIANCES:
        total, logs = distance(REAL, flat, covariance, 0.0)
        assert not total.isfinite()
        assert logs.fake.isnan() if covariance == "full" else logs.fake == -math.inf
        assert logs.real.isfinite()


@distances
@covariances
def test_half_precision_is_computed_in_single(distance: Distance, covariance: Covariance) -> None:
    real, fake = REAL.bfloat16(), FAKE.bfloat16()
    expected = distance(real.float(), fake.float(), covariance, 0.5)[0]
    with torch.autocast("cpu", torch.bfloat16):
        ours = distance(real, fake, covariance, 0.5)[0]
    torch.testing.assert_close(ours, expected, rtol=0, atol=0)


def neighbours_by_loops(queries: Tensor, keys: Tensor, k: int, own: list[int] | None, first: int) -> list[list[int]]:
    rows = []
    for i, query in enumerate(queries):
        candidates = [j for j in range(len(keys)) if own is None or j != own[i]]
        candidates.sort(key=lambda j: -F.cosine_similarity(query, keys[j], dim=0).item())
        rows.append(candidates[first : first + k])
    return rows


@pytest.mark.parametrize("own", [None, [5, 0, 7, 7, 2]])
@pytest.mark.parametrize("skip_first", [False, True])
def test_nearest_is_a_sort_by_cosine(own: list[int] | None, skip_first: bool) -> None:
    keys = torch.randn(12, 6) * torch.rand(12, 1) * 9
    queries = torch.randn(5, 6) if own is None else keys[own].clone()
    exclude = None if own is None else torch.tensor(own)
    found = neighbour_indices(queries, keys, 3, exclude, skip_first)
    assert found.dtype == torch.int64
    assert found.tolist() == neighbours_by_loops(queries, keys, 3, own, int(skip_first))


def test_a_nearest_key_that_is_oneself_is_dropped_like_the_first() -> None:
    keys = torch.randn(8, 4)
    torch.testing.assert_close(
        neighbour_indices(keys, keys, 2, torch.arange(8)), neighbour_indices(keys, keys, 2, skip_first=True)
    )


@pytest.mark.parametrize(("exclude", "skip_first", "needed"), [(False, False, 3), (True, False, 4), (False, True, 4)])
def test_too_few_keys_are_said(exclude: bool, skip_first: bool, needed: int) -> None:
    keys, own = torch.randn(needed, 4), torch.arange(2) if exclude else None
    assert neighbour_indices(keys[:2], keys, 3, own, skip_first).shape == (2, 3)
    with pytest.raises(UserError, match=f"3 nearest .* among {needed - 1} features need {needed} features"):
        neighbour_indices(keys[:2], keys[:-1], 3, own, skip_first)


def test_neighbour_similarity_is_a_double_loop() -> None:
    index = torch.tensor([[1, 3, 0], [2, 2, 5]])
    expected = sum(REAL[i] @ FAKE[j] for i in range(2) for j in index[i]) / 6
    torch.testing.assert_close(neighbour_similarity(REAL[:2], FAKE, index), expected)


def test_gradients_of_neighbour_similarity_reach_both_sides() -> None:
    index = torch.tensor([[1, 3], [2, 2], [0, 1]])
    inputs = REAL[:3].clone().requires_grad_(), FAKE[:4].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z, values: neighbour_similarity(z, values, index), inputs)


@pytest.mark.parametrize(("side", "expected"), [("below", (0.5**2 + 0 + 0) / 3), ("above", (0 + 1 + 4) / 3)])
def test_norm_hinge_charges_one_side_of_the_sphere(side: Literal["below", "above"], expected: float) -> None:
    e = torch.tensor([[0.3, 0.4], [0.0, 2.0], [3.0, 4.0]]).requires_grad_()
    loss = norm_hinge(e, side)
    assert loss.item() == pytest.approx(expected)
    outward = (torch.autograd.grad(loss, e)[0] * e).sum(1).sign().tolist()
    assert outward == ([-1, 0, 0] if side == "below" else [0, 1, 1])


def test_norm_hinge_at_the_origin_has_a_finite_gradient() -> None:
    e = torch.zeros(2, 3, requires_grad=True)
    assert torch.autograd.grad(norm_hinge(e), e)[0].isfinite().all()
