"""The double spiral's noise-free arms."""

import pytest
import torch

from ssl_bench.data.spiral import NOISE, DoubleSpiral, distance_to_arms, double_spiral


def test_nearly_all_points_are_within_three_standard_deviations_of_an_arm() -> None:
    points, _ = double_spiral(2000, seed=0)
    assert (distance_to_arms(points) <= 3).double().mean() > 0.99
    assert (distance_to_arms(points) <= 1).double().mean() < 0.75  # of a normal distance: 0.68


def test_the_distance_is_in_standard_deviations_of_the_noise() -> None:
    innermost = torch.tensor([[0.0, -1.5 * torch.pi]])  # where an arm begins, running along x
    away = torch.tensor([[0.0, 4 * NOISE]])
    assert distance_to_arms(innermost).item() < 0.2
    torch.testing.assert_close(distance_to_arms(innermost + away), torch.tensor([4.0]), rtol=0.05, atol=0.0)


def test_the_standard_deviation_is_that_of_the_points() -> None:
    points, _ = double_spiral(10_000, seed=0)
    assert points.std(0).mean().item() == pytest.approx(DoubleSpiral.std[0], rel=0.02)
    assert points.abs().max() < 15
