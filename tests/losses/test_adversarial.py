"""Adversarial losses against their definitions, value by value, and the gradient penalty against single gradients."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import binary_cross_entropy_with_logits

from ssl_bench.losses.adversarial import (
    DISCRIMINATOR_LOSSES,
    GENERATOR_LOSSES,
    AdversarialLoss,
    gradient_penalty,
)

REAL, FAKE = torch.tensor([[2.0], [0.5], [-1.0], [-40.0]]), torch.tensor([[-3.0], [0.0], [50.0]])


def mean(function: Callable[[float], float], logits: Tensor) -> float:
    return sum(function(logit) for logit in logits.flatten().tolist()) / len(logits)


def cross_entropy(logits: Tensor, label: float) -> float:
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, label)).item()


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("non_saturating", cross_entropy(REAL, 1) + cross_entropy(FAKE, 0)),
        ("hinge", mean(lambda d: max(0.0, 1 - d), REAL) + mean(lambda d: max(0.0, 1 + d), FAKE)),
        ("wasserstein", mean(lambda d: d, FAKE) - mean(lambda d: d, REAL)),
    ],
)
def test_the_discriminators_loss_is_its_definition(loss: AdversarialLoss, expected: float) -> None:
    assert DISCRIMINATOR_LOSSES[loss](REAL, FAKE).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("non_saturating", cross_entropy(FAKE, 1)),
        ("hinge", -mean(lambda d: d, FAKE)),
        ("wasserstein", -mean(lambda d: d, FAKE)),
    ],
)
def test_the_generators_loss_is_its_definition(loss: AdversarialLoss, expected: float) -> None:
    assert GENERATOR_LOSSES[loss](FAKE).item() == pytest.approx(expected)


@pytest.mark.parametrize("loss", DISCRIMINATOR_LOSSES)
def test_gradients_of_both_networks_have_opposite_signs(loss: AdversarialLoss) -> None:
    real, fake = torch.zeros(2, 1, requires_grad=True), torch.zeros(3, 1, requires_grad=True)
    up, down = torch.autograd.grad(DISCRIMINATOR_LOSSES[loss](real, fake), (real, fake))
    assert (up < 0).all()
    assert (down > 0).all()
    assert (torch.autograd.grad(GENERATOR_LOSSES[loss](fake), fake)[0] < 0).all()


def test_the_non_saturating_generator_keeps_its_gradient_where_the_discriminator_is_sure() -> None:
    fake = torch.full((4, 1), -50.0, requires_grad=True)
    (gradient,) = torch.autograd.grad(GENERATOR_LOSSES["non_saturating"](fake), fake)
    torch.testing.assert_close(gradient, torch.full((4, 1), -1 / 4))


def pairs(n: int = 5) -> tuple[Tensor, Tensor]:
    real, fake = torch.randn(2, n, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    return real, fake


def critic() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4, 1))


def test_the_gradient_penalty_is_the_mean_over_single_images() -> None:
    discriminator, (real, fake) = critic(), pairs()
    torch.manual_seed(2)
    penalty = gradient_penalty(discriminator, real, fake)
    torch.manual_seed(2)
    shares = torch.rand(len(real), 1, 1, 1)
    expected = 0.0
    for share, x, y in zip(shares, real, fake, strict=True):
        point = ((1 - share) * x + share * y).requires_grad_()
        (gradient,) = torch.autograd.grad(discriminator(point[None]).squeeze(), point)
        expected += (math.sqrt(gradient.square().sum().item()) - 1) ** 2 / len(real)
    assert penalty.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("slope", "expected"), [(1.0, 0.0), (3.0, 4.0), (0.0, 1.0)])
def test_the_gradient_penalty_of_a_linear_function_is_known(slope: float, expected: float) -> None:
    real, fake = pairs()
    direction = torch.zeros(18)
    direction[7] = slope  # a norm without rounding
    assert gradient_penalty(lambda x: x.flatten(1) @ direction, real, fake).item() == expected


def test_the_points_of_the_gradient_penalty_lie_between_the_pairs_one_on_each_line() -> None:
    real, fake = torch.zeros(2000, 1, 2, 2), torch.ones(2000, 1, 2, 2)
    seen: list[Tensor] = []

    def keep(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return x.flatten(1).sum(1)

    gradient_penalty(keep, real, fake)
    (points,) = seen
    assert torch.equal(points, points[:, :1, :1, :1].expand_as(points))  # one share for a whole image
    counts = torch.histc(points[:, 0, 0, 0], bins=4, min=0, max=1)
    assert ((counts > 400) & (counts < 600)).all()


def test_the_gradient_penaltys_derivative_is_that_of_finite_differences() -> None:
    discriminator, (real, fake) = critic().double(), pairs()
    names, weights = zip(*discriminator.named_parameters(), strict=True)

    def penalty(*weights: Tensor) -> Tensor:
        torch.manual_seed(2)
        critic_of_weights = partial(functional_call, discriminator, dict(zip(names, weights, strict=True)))
        return gradient_penalty(critic_of_weights, real.double(), fake.double())

    assert torch.autograd.gradcheck(penalty, weights)


def test_the_gradient_penalty_is_measured_in_float32_under_autocast() -> None:
    discriminator, (real, fake) = critic(), pairs()
    torch.manual_seed(2)
    expected = gradient_penalty(discriminator, real, fake)
    torch.manual_seed(2)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = gradient_penalty(discriminator, real, fake)
    torch.testing.assert_close(mixed, expected)
