"""StyleGAN2's layers and networks, against slow formulas written out image by image and pixel by pixel."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_bench.errors import UserError
from ssl_bench.networks.equalized import EqualizedConv2d, EqualizedLinear, Upsample
from ssl_bench.networks.modulated import ModulatedConv2d
from ssl_bench.networks.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator, minibatch_deviation

FILTER = torch.outer(*[torch.tensor([1.0, 3.0, 3.0, 1.0]).double() / 8] * 2)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def spread(x: Tensor) -> Tensor:
    """(C, H, W) with a zero after each pixel and row but the last: (C, 2 H - 1, 2 W - 1)."""
    y = x.new_zeros(len(x), 2 * x.shape[1] - 1, 2 * x.shape[2] - 1)
    y[:, ::2, ::2] = x
    return y


def filtered(x: Tensor, kernel: Tensor, first: int, size: int, step: int = 1) -> Tensor:
    """Sums of kernel times pixels of (C, H, W), pixel by pixel, the first one's window at `first`; 0 outside of it."""
    side = len(kernel)
    y = x.new_zeros(len(x), size, size)
    for i in range(size):
        for j in range(size):
            for di in range(side):
                for dj in range(side):
                    row, column = first + step * i + di, first + step * j + dj
                    if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
                        y[:, i, j] += kernel[di, dj] * x[:, row, column]
    return y


def test_upsampling_is_the_filter_over_an_image_spread_out() -> None:
    x = torch.randn(2, 3, 4, 4).double()
    expected = torch.stack([filtered(spread(image), 4 * FILTER, -2, 8) for image in x])
    torch.testing.assert_close(Upsample().double()(x), expected)


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_halving_convolution_sees_the_filtered_image(kernel: int) -> None:
    layer, x = EqualizedConv2d(2, 3, kernel, down=True).double(), torch.randn(1, 2, 6, 6).double()
    before = kernel // 2
    seen = filtered(x[0], FILTER, -1 - before, 6 + 2 * before - 1)
    expected = sum(
        layer.weight[:, :, i, j] / math.sqrt(2 * kernel**2) @ seen[:, i : i + 5 : 2, j : j + 5 : 2].flatten(1)
        for i in range(kernel)
        for j in range(kernel)
    )
    torch.testing.assert_close(layer(x)[0].flatten(1), expected)


def modulated_by_hand(layer: ModulatedConv2d, x: Tensor, code: Tensor, up: bool) -> Tensor:
    """Eq. 1 and 3: weights formed for each image, then an ordinary convolution of it alone."""
    images = []
    for image, one in zip(x, code, strict=True):
        style = layer.style.weight @ one / math.sqrt(len(one)) + layer.style.bias
        weight = layer.weight / math.sqrt(layer.weight[0].numel()) * style[:, None, None]
        if layer.demodulate:
            weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if up:  # a transposed convolution is one of the image spread out, its kernel rotated
            padding = weight.shape[2] - 1
            full = F.conv2d(F.pad(spread(image), (padding,) * 4)[None], weight.flip(2, 3))[0]
            images.append(filtered(full, 4 * FILTER, -1, 2 * image.shape[1]))
        else:
            images.append(F.conv2d(image[None], weight, padding=weight.shape[2] // 2)[0])
    return torch.stack(images)


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("demodulate", [False, True])
def test_a_modulated_convolution_is_one_by_each_images_own_weights(up: bool, demodulate: bool) -> None:
    layer = ModulatedConv2d(3, 5, 3, 4, demodulate, up).double()
    x, code = torch.randn(3, 3, 4, 4).double(), torch.randn(3, 4).double()
    torch.testing.assert_close(layer(x, code), modulated_by_hand(layer, x, code, up))


def test_a_modulated_convolution_has_the_direct_formulas_second_derivatives() -> None:
    """What path length needs: gradients to the weights of the norm of a gradient to the code."""
    layer = ModulatedConv2d(2, 3, 3, 4, up=True).double()
    x, code = torch.randn(2, 2, 4, 4).double(), torch.randn(2, 4).double().requires_grad_()
    formulas: list[Callable[[], Tensor]] = [lambda: layer(x, code), lambda: modulated_by_hand(layer, x, code, True)]
    found = []
    for formula in formulas:
        (slope,) = torch.autograd.grad(formula().square().sum(), code, create_graph=True)
        found.append(torch.autograd.grad(slope.square().sum(), list(layer.parameters())))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_demodulated_outputs_have_unit_variance_whatever_the_style() -> None:
    layer = ModulatedConv2d(32, 64, 3, 8)
    y = layer(torch.randn(16, 32, 16, 16), 10 * torch.randn(16, 8))
    torch.testing.assert_close(y[..., 1:-1, 1:-1].std((1, 2, 3)), torch.ones(16), rtol=0.15, atol=0.0)


def test_a_learning_rate_multiplier_changes_the_gradient_and_not_what_is_computed() -> None:
    usual, slow = EqualizedLinear(3, 4, bias=1.0), EqualizedLinear(3, 4, bias=1.0, multiplier=0.01)
    slow.weight.data = usual.weight.data * 100
    x = torch.randn(2, 3)
    torch.testing.assert_close(slow(x), usual(x))
    for layer in (usual, slow):
        layer(x).sum().backward()
    torch.testing.assert_close(slow.weight.grad, usual.weight.grad / 100)  # type: ignore[operator]


@pytest.mark.parametrize("size", [8, 32, 128])
@pytest.mark.parametrize("channels", [1, 3])
def test_networks_support_every_size(size: int, channels: int) -> None:
    shape = (channels, size, size)
    generator = StyleGAN2Generator(5, shape, width=8, plateau=16, style_dim=6, mapping_layers=2)
    assert generator.n_latent == 2 * math.log2(size) - 2
    images = generator(torch.randn(2, 5))
    assert images.shape == (2, *shape)
    discriminator = StyleGAN2Discriminator(shape, 3, width=8, plateau=16)
    assert discriminator(images).shape == (2, 3)
    assert discriminator.features(images).shape == (2, discriminator.feature_dim) == (2, 8)


def test_the_published_networks_have_as_many_weights_as_published() -> None:
    """At 1024 px 30,370,060 and 29,012,513; at 256 px those without their blocks of 512 and 1024 px."""
    generator = sum(p.numel() for p in StyleGAN2Generator(512, (3, 256, 256)).parameters())
    discriminator = sum(p.numel() for p in StyleGAN2Discriminator((3, 256, 256), 1).parameters())
    for below, here in ((128, 64), (64, 32)):
        generator += 9 * below * here + 513 * below + 9 * here**2 + 513 * here + 2 * (here + 1)
        generator += 3 * here + 513 * here + 3
        discriminator += 9 * here**2 + here + 9 * here * below + below + here * below
    assert generator == 30_370_060
    assert discriminator + 4 * (32 - 128) == 29_012_513  # of the layer that sees the image


@pytest.mark.parametrize("shape", [(3, 28, 28), (3, 32, 16), (3, 4, 4), (3, 512, 512), (2,)])
def test_unsupported_images_are_refused(shape: tuple[int, ...]) -> None:
    message = "give square ones of 8, 16, 32, 64, 128, 256 px"
    with pytest.raises(UserError, match=message):
        StyleGAN2Generator(4, shape)
    with pytest.raises(UserError, match=message):
        StyleGAN2Discriminator(shape, 1)


def narrow(mixing: float = 0.9) -> StyleGAN2Generator:
    generator = StyleGAN2Generator(6, (3, 16, 16), width=8, style_dim=6, mapping_layers=2, mixing=mixing)
    for name, parameter in generator.named_parameters():
        if name.endswith("strength"):
            parameter.data.fill_(0.3)
    return generator


def test_noise_is_random_in_training_and_fixed_in_evaluation() -> None:
    generator = narrow()
    codes = torch.randn(3, generator.n_latent, 6)
    assert not torch.equal(generator.synthesis(codes), generator.synthesis(codes))
    generator.eval()
    assert torch.equal(generator.synthesis(codes), generator.synthesis(codes))
    torch.testing.assert_close(generator.synthesis(codes)[:1], generator.synthesis(codes[:1]))


@pytest.mark.parametrize("mixing", [0.0, 0.5, 1.0])
def test_that_share_of_images_has_codes_of_two_latents_in_training(mixing: float) -> None:
    generator, z = narrow(mixing), torch.randn(500, 6)
    codes = generator.codes(z)
    torch.testing.assert_close(codes[:, 0], generator.mapping(z))  # the first layer's is never of another latent
    changes = (codes.diff(dim=1).abs().sum(2) > 0).sum(1)
    assert changes.max() <= 1
    assert abs((changes == 1).float().mean() - mixing) < 0.07
    if mixing:
        starts = (codes.diff(dim=1).abs().sum(2) > 0)[changes == 1].float().mean(0)
        torch.testing.assert_close(starts, torch.full((5,), 0.2), atol=0.1, rtol=0.0)
    generator.eval()
    assert torch.equal(generator.codes(z), generator.mapping(z)[:, None].expand(-1, 6, -1))


def test_each_code_changes_the_image_and_images_do_not_interact() -> None:
    generator = narrow().eval()
    codes = torch.randn(2, generator.n_latent, 6, requires_grad=True)
    (gradient,) = torch.autograd.grad(generator.synthesis(codes)[0].square().sum(), codes)
    assert gradient[0].abs().sum(1).gt(0).all()
    assert not gradient[1].any()


def test_the_mean_code_is_the_mean_of_mapped_latents_and_always_the_same() -> None:
    generator = narrow()
    assert torch.equal(generator.mean_code(), generator.mean_code())
    z = torch.randn(64, 6, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(generator.mean_code(64, torch.Generator().manual_seed(3)), generator.mapping(z).mean(0))


@pytest.mark.parametrize(("images", "group"), [(8, 4), (6, 2), (5, 1)])
def test_the_deviation_is_that_of_consecutive_images(images: int, group: int) -> None:
    x = torch.randn(images, 3, 4, 4)
    expected = torch.stack(
        [x[i // group * group :][:group].std(0, correction=0).square().add(1e-8).sqrt().mean() for i in range(images)]
    )
    found = minibatch_deviation(x)
    assert found.shape == (images, 1, 4, 4)
    torch.testing.assert_close(found[:, 0, 2, 1], expected)
    assert torch.equal(found, torch.cat([minibatch_deviation(part) for part in x.split(group)]))
