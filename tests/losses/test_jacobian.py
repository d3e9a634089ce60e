"""The Jacobian's norm against full Jacobians, the released three-pass formulation and finite differences."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian
from torch.nn import functional as F

from ssl_bench.losses.jacobian import jacobian_norm, jacobian_penalty


class Residual(nn.Module):
    """A pooled residual block with GroupNorm and ELU, as the discriminator's."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.skip = nn.Conv2d(4, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(x, 2)
        return F.elu(self.norm(self.conv(x)) + self.skip(x))


def convolutional() -> tuple[nn.Sequential, Tensor]:
    torch.manual_seed(0)
    stem = nn.Conv2d(3, 4, 3, padding=1)
    net = nn.Sequential(stem, nn.ELU(), Residual(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5))
    return net, torch.randn(6, 3, 8, 8)


def mlp() -> tuple[nn.Sequential, Tensor]:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 16), nn.ELU(), nn.Linear(16, 5)), torch.randn(6, 2)


Network = Callable[[], tuple[nn.Module, Tensor]]
networks = pytest.mark.parametrize("network", [convolutional, mlp])


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def gradients(loss: Tensor, net: nn.Module) -> list[Tensor]:
    return [g for g in torch.autograd.grad(loss, list(net.parameters()), allow_unused=True) if g is not None]


def largest_singular_values(f: nn.Module, x: Tensor) -> Tensor:
    jacobians = [jacobian(f, sample[None]).reshape(5, -1) for sample in x]
    values: Tensor = torch.linalg.svdvals(torch.stack(jacobians))
    return values[:, 0]


def released(f: nn.Module, x: Tensor, u: Tensor) -> Tensor:
    """The structural GAN's own order of passes: back, forward mode sample by sample, back with a graph."""
    x = x.detach().requires_grad_()
    v = F.normalize(torch.autograd.grad((f(x) * u).sum(), x)[0].flatten(1)).view_as(x)
    with torch.no_grad():
        u = torch.func.vmap(lambda a, b: torch.func.jvp(lambda one: f(one[None])[0], (a,), (b,))[1])(x, v)
    pulled = torch.autograd.grad((f(x) * F.normalize(u)).sum(), x, create_graph=True)[0]
    sigma: Tensor = (pulled * v).flatten(1).sum(1)
    return sigma


@networks
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_many_iterations_give_the_largest_singular_value(network: Network, dtype: torch.dtype) -> None:
    net, x = network()
    net, x = net.to(dtype), x.to(dtype)
    sigma = jacobian_norm(net, x, power_iterations=300)[1]
    assert sigma.dtype == dtype
    torch.testing.assert_close(sigma, largest_singular_values(net, x), rtol=1e-3, atol=0)


@networks
def test_one_iteration_is_what_was_released(network: Network) -> None:
    net, x = network()
    sigma = jacobian_norm(net, x, generator=seeded())[1]
    expected = released(net, x, torch.randn(6, 5, generator=seeded()))
    torch.testing.assert_close(sigma, expected, rtol=1e-4, atol=0)
    ours, theirs = (gradients(jacobian_penalty(s), net) for s in (sigma, expected))
    for mine, theirs_ in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, theirs_, rtol=1e-4, atol=1e-6)


@networks
def test_gradient_is_that_of_finite_differences_once_v_has_converged(network: Network) -> None:
    # v is a constant for the gradient; at the top singular vector sigma is stationary in v, so nothing is lost.
    net, x = network()
    net, x = net.double(), x.double()

    def penalty() -> Tensor:
        return jacobian_penalty(jacobian_norm(net, x, power_iterations=300, generator=seeded())[1], target=0.5)

    weight, step = next(net.parameters()), 1e-5
    direction = torch.randn_like(weight)
    slope = (torch.autograd.grad(penalty(), weight)[0] * direction).sum()
    weight.data += step * direction
    above = penalty()
    weight.data -= 2 * step * direction
    below = penalty()
    torch.testing.assert_close(slope, (above - below) / (2 * step), rtol=1e-3, atol=0)


@networks
def test_samples_do_not_affect_each_others_sigma(network: Network) -> None:
    net, x = network()
    before = jacobian_norm(net, x, generator=seeded())[1]
    x[2] *= 3
    after = jacobian_norm(net, x, generator=seeded())[1]
    same = torch.arange(6) != 2
    torch.testing.assert_close(after[same], before[same])
    assert not torch.isclose(after[2], before[2])


@networks
def test_value_is_that_of_f_with_its_gradient(network: Network) -> None:
    net, x = network()
    y = jacobian_norm(net, x)[0]
    torch.testing.assert_close(y, net(x))
    for ours, plain in zip(gradients(y.square().sum(), net), gradients(net(x).square().sum(), net), strict=True):
        torch.testing.assert_close(ours, plain)


def test_value_and_norm_go_back_together() -> None:
    net, x = mlp()
    weight = next(net.parameters())
    y, sigma = jacobian_norm(net, x)
    alone = [torch.autograd.grad(part.sum(), weight, retain_graph=True)[0] for part in (y, sigma)]
    torch.testing.assert_close(torch.autograd.grad(y.sum() + sigma.sum(), weight)[0], alone[0] + alone[1])


def test_every_call_samples_a_new_direction() -> None:
    net, x = convolutional()
    first, second = jacobian_norm(net, x)[1], jacobian_norm(net, x)[1]
    assert not torch.allclose(first, second)


def test_autocast_does_not_reach_it() -> None:
    net, x = convolutional()
    expected = jacobian_norm(net, x, generator=seeded())
    with torch.autocast("cpu", torch.bfloat16):
        ours = jacobian_norm(net, x, generator=seeded())
    for mine, theirs in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_frozen_parameters_leave_the_gradient_to_the_samples() -> None:
    net, x = mlp()
    net.requires_grad_(False)
    expected = jacobian_norm(net, x, generator=seeded())[1]
    x.requires_grad_()
    sigma = jacobian_norm(net, x, generator=seeded())[1]
    torch.testing.assert_close(sigma, expected)
    assert torch.autograd.grad(sigma.sum(), x)[0].abs().max() > 0


def test_a_flat_network_has_norm_zero_and_a_finite_gradient() -> None:
    net, x = mlp()
    nn.init.zeros_(net.get_parameter("2.weight"))
    sigma = jacobian_norm(net, x)[1]
    assert sigma.eq(0).all()
    assert all(g.isfinite().all() for g in gradients(jacobian_penalty(sigma), net))


def test_penalty_is_the_mean_square_distance_to_the_target() -> None:
    torch.testing.assert_close(jacobian_penalty(torch.tensor([1.0, 3.0]), target=2.0), torch.tensor(1.0))
    torch.testing.assert_close(jacobian_penalty(torch.tensor([1.0, 3.0])), torch.tensor(2.0))
