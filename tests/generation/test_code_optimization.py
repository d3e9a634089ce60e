"""Optimisation of codes equals that of one image at a time; its metrics are those of the images."""

from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_bench.errors import UserError
from ssl_bench.generation.code_optimization import optimize_codes
from ssl_bench.generation.settings import InvertSettings
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
    """The same, one image at a time, written from the formula."""
    found = []
    for image in images.unsqueeze(1):
        start = method.encoder(2 * image - 1).view(1, method.n_latent, -1).detach()
        offsets = start.clone().requires_grad_()
        adam = torch.optim.Adam([offsets], lr)
        for _ in range(steps):
            y = method.generator.synthesis(method.mean_code() + 0.7 * offsets)
            reencoded = method.encoder(y).view(1, method.n_latent, -1)
            loss = F.mse_loss(y, 2 * image - 1)
            loss = loss + 0.5 * F.l1_loss(F.avg_pool2d((y + 1) / 2, 2), F.avg_pool2d(image, 2))
            loss = loss + latent_weight * F.mse_loss(reencoded, start if compared == "start" else offsets)
            adam.zero_grad()
            loss.backward()
            adam.step()
        found.append(method.mean_code() + 0.7 * offsets.detach())
    return torch.cat(found)


@pytest.mark.parametrize("compared", ["start", "current"])
def test_it_equals_adam_on_the_loss_of_each_image(
    method: InDomainInversion, images: Tensor, compared: Literal["start", "current"]
) -> None:
    found = optimize_codes(method, images, InvertSettings(steps=10, lr=0.02, latent_weight=0.5, compared=compared))
    expected = one_by_one(method, images, 10, 0.02, compared, 0.5)
    torch.testing.assert_close(found.codes, expected, rtol=1e-4, atol=1e-4)


def test_the_error_decreases_for_every_image_and_matches_the_images(method: InDomainInversion, images: Tensor) -> None:
    found = optimize_codes(method, images, InvertSettings(steps=40, lr=0.05, latent_weight=0.0))
    start = method.reconstruct(2 * images - 1)
    torch.testing.assert_close(found.metrics["start_mse"], (start - images).square().mean((1, 2, 3)))
    torch.testing.assert_close(found.metrics["mse"], (found.images - images).square().mean((1, 2, 3)))
    torch.testing.assert_close(found.metrics["psnr"], -10 * found.metrics["mse"].log10())
    torch.testing.assert_close(found.images, method.synthesize(found.codes).clamp(0, 1))
    assert (found.metrics["mse"] < 0.8 * found.metrics["start_mse"]).all()


def test_a_result_does_not_depend_on_the_rest_of_the_batch(method: InDomainInversion, images: Tensor) -> None:
    together, alone = (optimize_codes(method, some, InvertSettings(steps=10)) for some in (images, images[2:3]))
    torch.testing.assert_close(together.codes[2:3], alone.codes, rtol=1e-4, atol=1e-4)


def test_weights_get_no_gradients(method: InDomainInversion, images: Tensor) -> None:
    optimize_codes(method, images, InvertSettings(steps=2))
    assert all(p.grad is None for p in method.parameters())


def test_the_latent_term_keeps_reconstructions_near_the_encoders_codes(
    method: InDomainInversion, images: Tensor
) -> None:
    start = method.offsets(2 * images - 1)
    deviation = [
        (method.offsets(2 * optimize_codes(method, images, InvertSettings(40, 0.05, weight)).images - 1) - start)
        .square()
        .mean()
        .item()
        for weight in (0.0, 100.0)
    ]
    assert deviation[1] < deviation[0]


def test_without_an_encoder_it_starts_from_the_mean_code(images: Tensor) -> None:
    method = load_method(generator_checkpoint())
    assert isinstance(method, StyleGAN2)
    start = optimize_codes(method, images, InvertSettings(steps=0))
    assert torch.equal(start.codes, method.mean_code().expand_as(start.codes))
    found = optimize_codes(method, images, InvertSettings(steps=40, lr=0.05))
    assert (found.metrics["mse"] < found.metrics["start_mse"]).all()


def test_bfloat16_finds_codes_of_similar_error(method: InDomainInversion, images: Tensor) -> None:
    found = optimize_codes(method, images, InvertSettings(40, 0.05, 0.0), autocast=torch.bfloat16)
    exact = optimize_codes(method, images, InvertSettings(40, 0.05, 0.0))
    assert found.codes.dtype == torch.float32
    torch.testing.assert_close(found.metrics["mse"], exact.metrics["mse"], rtol=0.1, atol=1e-3)


def test_non_finite_codes_are_an_error_of_one_line(method: InDomainInversion, images: Tensor) -> None:
    nn.init.constant_(method.encoder.head.bias, float("nan"))  # type: ignore[arg-type,union-attr]
    for steps, seen in ((2, 2), (1000, 50)):
        with pytest.raises(UserError, match=rf"^inversion: codes are not finite after {seen} steps of 0\.01: give a"):
            optimize_codes(method, images, InvertSettings(steps=steps))
