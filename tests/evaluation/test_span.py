"""Principal axes of few points in many dimensions, on any number of processes."""

import torch
from torch import Tensor

from ssl_bench.evaluation.span import Span, gram_matrix
from tests.evaluation.conftest import gaussians, rows
from tests.ranks import Ranks


def points(n: int, dim: int) -> tuple[Tensor, Span]:
    """Centred points, two of them equal, in two parts of several blocks if there are many."""
    x, y = gaussians(n, dim, 3, spread=1.0)
    x[1] = x[0]
    mean = x.double().mean(0)
    cut = 2 * n // 3
    return x.double() - mean, Span.of((rows(x[:cut], y[:cut]), rows(x[cut:], y[cut:])), lambda x: x.double() - mean)


def test_gram_matrix_is_that_of_all_pairs() -> None:
    x, span = points(50, 80)
    torch.testing.assert_close(gram_matrix(span.parts, span.points), x @ x.T, rtol=1e-12, atol=0)


def test_axes_are_those_of_the_singular_value_decomposition() -> None:
    x, span = points(50, 80)
    _, singular, axes = torch.linalg.svd(x, full_matrices=False)
    torch.testing.assert_close(span.lengths.flip(0)[:40], singular[:40], rtol=1e-9, atol=0)
    torch.testing.assert_close(span.second_moments, span.lengths.square() / 50)
    found = span.embed(torch.eye(50).double()).flip(0)[:40]
    torch.testing.assert_close((found * axes[:40]).sum(1).abs(), torch.ones(40).double())


def test_coordinates_keep_products_and_axes_without_points_have_none() -> None:
    x, span = points(50, 80)
    coordinates = torch.cat(span.coordinates())
    torch.testing.assert_close(coordinates @ coordinates.T, x @ x.T)
    assert (span.lengths == 0).sum() == 2  # the points are centred, and two are equal


def test_project_and_embed_are_inverse_in_the_span() -> None:
    x, span = points(50, 80)
    weights = torch.linspace(-1, 1, 100).view(2, 50).double() @ x
    torch.testing.assert_close(span.embed(span.project(weights)), weights)
    torch.testing.assert_close(span.project(x), torch.cat(span.coordinates()), atol=1e-6, rtol=1e-9)


def products(n: int) -> Tensor:
    x, y = gaussians(n, 8, 3, spread=1.0)
    parts = rows(x[:1100], y[:1100]), rows(x[1100:], y[1100:])
    assert [len(part.slices()) for part in parts] == [2, 1]
    return gram_matrix(parts, torch.Tensor.double)


def test_gram_matrix_is_bit_equal_on_any_number_of_processes(ranks: Ranks) -> None:
    (expected,) = ranks(products, 1400, size=1)
    assert expected.shape == (1400, 1400)
    for found in ranks(products, 1400, size=2):
        assert torch.equal(found, expected)
