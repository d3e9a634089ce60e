"""StyleGAN2's regularisers on functions whose derivatives are known."""

import pytest
import torch
from torch import Tensor, nn

from ssl_bench.losses.stylegan import path_lengths, r1


def test_r1_of_a_quadratic_is_its_squared_gradient() -> None:
    torch.manual_seed(0)
    matrix, x = torch.randn(12, 12), torch.randn(5, 3, 2, 2)
    logits, penalty = r1(lambda images: ((images.flatten(1) @ matrix) ** 2).sum(1), x)
    gradient = 2 * x.flatten(1) @ matrix @ matrix.T
    torch.testing.assert_close(logits, ((x.flatten(1) @ matrix) ** 2).sum(1))
    torch.testing.assert_close(penalty, (gradient**2).sum(1).mean())


def test_path_lengths_of_a_linear_synthesis_are_those_of_its_transpose(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images 2 x 3 x 3 linear in 4 codes of 5: y^T J is y^T A, y = noise / sqrt(9); root of the mean over codes."""
    torch.manual_seed(0)
    matrix, noise = torch.randn(18, 20), torch.randn(7, 2, 3, 3)
    monkeypatch.setattr("ssl_bench.losses.stylegan.torch.randn_like", lambda images: noise)
    lengths = path_lengths(lambda codes: (codes.flatten(1) @ matrix.T).view(-1, 2, 3, 3), torch.randn(7, 4, 5))
    pulled = (noise.flatten(1) / 3 @ matrix).view(7, 4, 5)
    torch.testing.assert_close(lengths, (pulled**2).sum(2).mean(1).sqrt())


def test_squared_path_lengths_estimate_the_jacobians_norm() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(18, 20)
    lengths = path_lengths(lambda codes: (codes.flatten(1) @ matrix.T).view(-1, 2, 3, 3), torch.zeros(4000, 4, 5))
    torch.testing.assert_close(lengths.square().mean(), matrix.square().sum() / 9 / 4, rtol=0.05, atol=0.0)


@pytest.mark.parametrize("penalty", ["r1", "path"])
def test_both_are_in_float32_under_autocast_and_train_the_network(penalty: str) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 12), nn.Unflatten(1, (3, 2, 2)))
    x = torch.randn(4, 2, 4)

    def value() -> Tensor:
        torch.manual_seed(1)
        if penalty == "path":
            return path_lengths(network, x).mean()
        return r1(lambda images: network(images).sum((1, 2, 3)), x)[1]

    exact = value()
    with torch.autocast("cpu", torch.bfloat16):
        half = value()
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, exact)
    half.backward()
    assert network[1].weight.grad.any()  # type: ignore[union-attr,operator]
