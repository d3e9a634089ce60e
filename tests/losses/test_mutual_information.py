"""The bound equals its formula, keeps to its ceiling and is below InfoNCE."""

import math

import pytest
import torch

from ssl_bench.losses.mutual_information import donsker_varadhan, log_mean_exp


def scores(scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_the_bound_equals_a_direct_computation() -> None:
    joint, marginal = scores()[0], scores()
    expected = sum(joint.tolist()) / 16 - math.log(sum(math.exp(t) for t in marginal.flatten().tolist()) / 256)
    assert donsker_varadhan(joint, marginal).item() == pytest.approx(expected, abs=1e-12)


def test_large_scores_do_not_overflow() -> None:
    assert log_mean_exp(torch.full((3, 4), 1e4)).item() == pytest.approx(1e4)


def test_a_critic_that_tells_nothing_finds_nothing() -> None:
    assert donsker_varadhan(torch.full((5,), 3.0), torch.full((5, 5), 3.0)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0, 1000.0])
def test_of_all_pairs_it_exceeds_neither_infonce_nor_the_log_of_the_batch(scale: float) -> None:
    table = scores(scale) + torch.eye(16) * scale
    bound = donsker_varadhan(table.diagonal(), table).item()
    infonce = (table.diagonal() - table.logsumexp(1) + math.log(16)).mean().item()
    assert bound <= infonce + 1e-9
    assert bound <= math.log(16) + 1e-9


def test_a_critic_that_tells_every_pair_apart_reaches_the_ceiling() -> None:
    table = 100 * torch.eye(16, dtype=torch.float64)
    assert donsker_varadhan(table.diagonal(), table).item() == pytest.approx(math.log(16))
