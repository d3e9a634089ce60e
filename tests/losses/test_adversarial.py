"""Adversarial losses against their definitions, value by value."""

import pytest
import torch

from ssl_bench.losses.adversarial import hinge_discriminator, hinge_generator


def test_the_discriminator_pays_for_what_is_within_the_margin() -> None:
    real, fake = torch.tensor([[2.0], [0.5], [-1.0]]), torch.tensor([[-3.0], [0.0]])
    assert hinge_discriminator(real, fake).item() == pytest.approx((0 + 0.5 + 2) / 3 + (0 + 1) / 2)


def test_the_generator_pays_for_low_logits() -> None:
    assert hinge_generator(torch.tensor([[2.0], [-1.0]])).item() == -0.5


def test_each_player_pulls_the_logits_its_own_way() -> None:
    real, fake = torch.zeros(2, 1, requires_grad=True), torch.zeros(3, 1, requires_grad=True)
    up, down = torch.autograd.grad(hinge_discriminator(real, fake), (real, fake))
    assert (up < 0).all()
    assert (down > 0).all()
    assert (torch.autograd.grad(hinge_generator(fake), fake)[0] < 0).all()
