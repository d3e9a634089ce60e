"""Optimisation of codes against one image at a time, and what it reports."""

import math
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_bench.errors import UserError
from ssl_bench.generation.inversion import Invert, invert
from ssl_bench.methods.checkpoint import load_method
from ssl_bench.methods.inversion import InDomainInversion
from ssl_bench.methods.stylegan2 import StyleGAN2
from ssl_bench.networks.inverter import InversionEncoder
from tests.generators import Blurred, generator_checkpoint


@pytest.fixture
def method() -> InDomainInversion:
    torch.manual_seed(0)
    return InDomainInversion(
        (1, 8, 8), lambda shape, n: InversionEncoder(shape, n, 8), generator_checkpoint(), perceptual=Blurred(),
        perceptual_weight=0.5,
    )  # fmt: skip


@pytest.fixture
def images() -> Tensor:
    torch.manual_seed(1)
    return torch.rand(4, 1, 8, 8)


def one_by_one(
    method: InDomainInversion, images: Tensor, steps: int, lr: float, compared: str, latent_weight: float
) -> Tensor:
    """The same, an image at a time, written from the formula."""
    found = []
    for image in images.unsqueeze(1):
        start = method.encoder(2 * image - 1).view(1, method.n_latent, -1).detach()
        offsets = start.clone().requires_grad_()
        adam = torch.optim.Adam([offsets], lr)
        for _ in range(steps):
            y = method.generator.synthesis(method.mean_code() + 0.7 * offsets)
            said = method.encoder(y).view(1, method.n_latent, -1)
            loss = F.mse_loss(y, 2 * image - 1)
            loss = loss + 0.5 * F.l1_loss(F.avg_pool2d((y + 1) / 2, 2), F.avg_pool2d(image, 2))
            loss = loss + latent_weight * F.mse_loss(said, start if compared == "start" else offsets)
            adam.zero_grad()
            loss.backward()
            adam.step()
        found.append(method.mean_code() + 0.7 * offsets.detach())
    return torch.cat(found)


@pytest.mark.parametrize("compared", ["start", "current"])
def test_it_is_adam_on_each_images_own_loss(
    method: InDomainInversion, images: Tensor, compared: Literal["start", "current"]
) -> None:
    found = invert(method, images, Invert(steps=10, lr=0.02, latent_weight=0.5, compared=compared))
    expected = one_by_one(method, images, 10, 0.02, compared, 0.5)
    torch.testing.assert_close(found.codes, expected, rtol=1e-4, atol=1e-4)


def test_the_error_falls_for_every_image_and_is_that_of_the_images(method: InDomainInversion, images: Tensor) -> None:
    found = invert(method, images, Invert(steps=40, lr=0.05, latent_weight=0.0))
    start = method.reconstruct(2 * images - 1)
    torch.testing.assert_close(found.figures["start_mse"], (start - images).square().mean((1, 2, 3)))
    torch.testing.assert_close(found.figures["mse"], (found.images - images).square().mean((1, 2, 3)))
    torch.testing.assert_close(found.figures["psnr"], -10 * found.figures["mse"].log10())
    torch.testing.assert_close(found.images, method.synthesize(found.codes).clamp(0, 1))
    assert (found.figures["mse"] < 0.8 * found.figures["start_mse"]).all()


def test_what_is_found_does_not_depend_on_the_rest_of_the_batch(method: InDomainInversion, images: Tensor) -> None:
    together, alone = (invert(method, some, Invert(steps=10)) for some in (images, images[2:3]))
    torch.testing.assert_close(together.codes[2:3], alone.codes, rtol=1e-4, atol=1e-4)


def test_no_weights_are_given_gradients(method: InDomainInversion, images: Tensor) -> None:
    invert(method, images, Invert(steps=2))
    assert all(p.grad is None for p in method.parameters())


def test_the_latent_term_keeps_reconstructions_near_what_the_encoder_said(
    method: InDomainInversion, images: Tensor
) -> None:
    start = method.offsets(2 * images - 1)
    strayed = [
        (method.offsets(2 * invert(method, images, Invert(40, 0.05, weight)).images - 1) - start).square().mean().item()
        for weight in (0.0, 100.0)
    ]
    assert strayed[1] < strayed[0]


def test_without_an_encoder_it_starts_from_the_mean_code(images: Tensor) -> None:
    method = load_method(generator_checkpoint())
    assert isinstance(method, StyleGAN2)
    start = invert(method, images, Invert(steps=0))
    assert torch.equal(start.codes, method.mean_code().expand_as(start.codes))
    found = invert(method, images, Invert(steps=40, lr=0.05))
    assert (found.figures["mse"] < found.figures["start_mse"]).all()


def test_bfloat16_finds_nearly_as_good_codes(method: InDomainInversion, images: Tensor) -> None:
    found = invert(method, images, Invert(40, 0.05, 0.0), autocast=torch.bfloat16)
    exact = invert(method, images, Invert(40, 0.05, 0.0))
    assert found.codes.dtype == torch.float32
    torch.testing.assert_close(found.figures["mse"], exact.figures["mse"], rtol=0.1, atol=1e-3)


def test_codes_that_are_not_finite_are_one_line(method: InDomainInversion, images: Tensor) -> None:
    nn.init.constant_(method.encoder.head.bias, float("nan"))  # type: ignore[arg-type,union-attr]
    for steps, seen in ((2, 2), (1000, 50)):
        with pytest.raises(UserError, match=rf"^inversion: codes are not finite after {seen} steps of 0\.01: give a"):
            invert(method, images, Invert(steps=steps))


@pytest.mark.parametrize("wrong", [{"steps": -1}, {"lr": -1.0}, {"lr": math.nan}, {"latent_weight": -2.0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match=f"{next(iter(wrong))} {next(iter(wrong.values()))}"):
        Invert(**wrong)  # type: ignore[arg-type]
