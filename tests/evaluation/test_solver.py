import pytest
import torch
from torch import Tensor

from ssl_bench.evaluation.solver import Function, minimise


def quadratics(optima: Tensor, curvatures: Tensor, calls: list[int] | None = None) -> Function:
    def function(points: Tensor, problems: Tensor) -> tuple[Tensor, Tensor]:
        if calls is not None:
            calls.append(len(problems))
        away = points - optima[problems]
        pull = curvatures[problems] * away
        return 1 + (away * pull).sum(1) / 2, pull

    return function


def test_each_quadratic_reaches_its_optimum() -> None:
    generator = torch.Generator().manual_seed(0)
    optima = torch.randn(30, 6, generator=generator, dtype=torch.float64)
    curvatures = torch.logspace(-1, 3, 6, dtype=torch.float64) * torch.logspace(-2, 2, 30, dtype=torch.float64)[:, None]
    found, _ = minimise(quadratics(optima, curvatures), torch.zeros_like(optima), tolerance=1e-14, max_passes=500)
    torch.testing.assert_close(found, optima, atol=1e-4, rtol=0)


def test_each_problem_is_solved_independently() -> None:
    optima = torch.arange(12, dtype=torch.float64).view(3, 4)
    curvatures = torch.tensor([[1.0, 2, 3, 4], [1, 100, 1, 100], [5, 5, 0.01, 9]], dtype=torch.float64)
    together, _ = minimise(quadratics(optima, curvatures), torch.zeros_like(optima), tolerance=1e-9, max_passes=100)
    for p in range(3):
        problem = quadratics(optima[p : p + 1], curvatures[p : p + 1])
        alone, _ = minimise(problem, torch.zeros(1, 4, dtype=torch.float64), tolerance=1e-9, max_passes=100)
        assert torch.equal(together[p : p + 1], alone)


@pytest.mark.parametrize("variables", [33, 610])
def test_problems_whose_rows_are_not_aligned_are_solved_independently(variables: int) -> None:
    generator = torch.Generator().manual_seed(0)
    optima = torch.randn(7, variables, generator=generator, dtype=torch.float64)
    curvatures = 0.01 + 10 * torch.rand(optima.shape, generator=generator, dtype=torch.float64)
    together, _ = minimise(quadratics(optima, curvatures), torch.zeros_like(optima), tolerance=1e-9, max_passes=100)
    for p in range(7):
        problem = quadratics(optima[p : p + 1], curvatures[p : p + 1])
        alone, _ = minimise(problem, torch.zeros_like(optima[:1]), tolerance=1e-9, max_passes=100)
        assert torch.equal(together[p : p + 1], alone)


def test_a_step_that_is_too_long_is_shortened() -> None:
    # The first step, by the whole gradient, overshoots by a factor of a million.
    optimum = torch.ones(1, 2, dtype=torch.float64)
    found, _ = minimise(quadratics(optimum, 1e6 * optimum), 0 * optimum, tolerance=1e-12, max_passes=100)
    torch.testing.assert_close(found, optimum, atol=1e-6, rtol=0)


def test_converged_problems_are_not_evaluated_again() -> None:
    optima = torch.zeros(4, 3, dtype=torch.float64)
    start = optima + torch.tensor([[0.0], [0], [1], [1]])
    calls: list[int] = []
    curvatures = torch.tensor([1.0, 20, 300], dtype=torch.float64).expand(4, 3)
    minimise(quadratics(optima, curvatures, calls), start, tolerance=1e-10, max_passes=100)
    assert calls[:2] == [4, 2]


def test_calls_are_limited_and_never_increase_the_value() -> None:
    optima = torch.randn(1, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = []
    for allowed in range(1, 12):
        calls: list[int] = []
        function = quadratics(optima, torch.logspace(-3, 3, 50, dtype=torch.float64)[None], calls)
        found, converged = minimise(function, torch.zeros_like(optima), tolerance=0, max_passes=allowed)
        assert len(calls) == allowed
        assert not converged
        values.append(function(found, torch.tensor([0]))[0].item())
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("noise", [1e-9, 1e-7])
def test_stops_at_rounding_error(noise: float) -> None:
    # Values and gradients as float32 sums give them: neither a hang nor a step away from the optimum.
    generator = torch.Generator().manual_seed(0)
    optima = torch.randn(5, 8, generator=generator, dtype=torch.float64)
    exact = quadratics(optima, torch.logspace(0, 2, 8, dtype=torch.float64).expand(5, 8))

    def rounded(points: Tensor, problems: Tensor) -> tuple[Tensor, Tensor]:
        value, gradient = exact(points, problems)
        errors = [noise * torch.randn(part.shape, generator=generator, dtype=part.dtype) for part in (value, gradient)]
        return value + errors[0], gradient + errors[1]

    found, _ = minimise(rounded, torch.zeros_like(optima), tolerance=0, max_passes=200)
    torch.testing.assert_close(found, optima, atol=1e4 * noise, rtol=0)
