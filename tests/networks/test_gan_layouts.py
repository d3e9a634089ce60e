"""The structural GAN's and BigGAN's networks are those of their sources: sizes, layers, blocks."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ssl_bench.networks.attention import SelfAttention
from ssl_bench.networks.biggan import BigGANDiscriminator, BigGANGenerator, UpBlock
from ssl_bench.networks.biggan_deep import BigGANDeepGenerator, BottleneckBlock, ConditionalBatchNorm
from ssl_bench.networks.discriminator import GroupNormResNet, PooledBlock


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_discriminator_has_the_published_sizes() -> None:
    with torch.device("meta"):
        network, large = GroupNormResNet((3, 32, 32), 128), GroupNormResNet((3, 128, 128), 128)
    assert network.feature_dim == 512
    assert round(parameters(network.backbone) / 1e6, 3) == 11.165
    assert round(parameters(network.head) / 1e6, 3) == 0.328
    assert round((parameters(network) + 513 * 10) / 1e6, 2) == 11.50  # the paper's count has the online probe in it
    # One more stage of four 3x3 convolutions, two more shortcuts, and a GroupNorm in each block and shortcut of them.
    assert parameters(large) - parameters(network) == 4 * 9 * 64**2 + 2 * 64**2 + 4 * (2 * 64)


@pytest.mark.parametrize(("size", "last"), [(8, 1), (28, 3), (32, 4), (64, 8), (96, 3), (128, 4)])
def test_discriminator_halves_small_images_three_times_and_large_ones_five_times(size: int, last: int) -> None:
    backbone = GroupNormResNet((1, size, size), 5, width=4).backbone
    assert backbone[:-2](torch.rand(1, 1, size, size)).shape == (1, 32, last, last)


def test_discriminator_normalises_groups_of_sixteen_channels_after_the_second_convolution_and_in_shortcuts() -> None:
    with torch.device("meta"):
        network = GroupNormResNet((3, 32, 32), 128)
    norms = [module for module in network.modules() if isinstance(module, nn.GroupNorm)]
    assert len(norms) == 8 + 3
    assert {norm.num_channels // norm.num_groups for norm in norms} == {16}


@pytest.mark.parametrize("width", [4, 24, 50])
def test_discriminator_takes_widths_that_sixteen_does_not_divide(width: int) -> None:
    assert GroupNormResNet((1, 8, 8), 5, width=width)(torch.rand(2, 1, 8, 8)).shape == (2, 5)


def test_discriminator_normalises_weights_or_activations() -> None:
    network = GroupNormResNet((1, 8, 8), 5, width=4, norm="spectral")
    assert not any(isinstance(module, nn.GroupNorm) for module in network.modules())


def test_discriminator_block_pools_before_its_convolutions() -> None:
    block, x = PooledBlock(16, 32, stride=2, norm="group"), torch.randn(2, 16, 8, 8)
    first, _, second, norm = block.residual
    weight, shortcut_norm = block.shortcut[0].weight, block.shortcut[1]  # type: ignore[index]
    pooled = F.avg_pool2d(x, 2)
    residual = norm(second(F.elu(first(pooled))))
    shortcut = shortcut_norm(torch.einsum("oi,nihw->nohw", weight[:, :, 0, 0], pooled))
    torch.testing.assert_close(block(x), F.elu(residual + shortcut))


def deep_parameters(channels: list[int], bottom: int, z: int, attention: int) -> int:
    """BigGAN-deep counted by hand: layers of the latent, per block 4 convolutions and 4 BatchNorms, output."""
    total = z * z + z + (z + 1) * channels[0] * bottom**2
    for stage, (n, m) in enumerate(itertools.pairwise(channels)):
        for outputs in (n, m):
            h = n // 4
            total += n * h + h + 2 * (9 * h * h + h) + h * outputs + outputs + 2 * z * (n + 3 * h)
        if stage == attention:
            total += 2 * m * (m // 8) + 2 * m * (m // 2) + 1
    return total + 2 * channels[-1] + 9 * channels[-1] * 3 + 3


@pytest.mark.parametrize(
    ("size", "multiples"), [(32, [4, 4, 4, 4]), (64, [16, 16, 8, 4, 2]), (128, [16, 16, 8, 4, 2, 1])]
)
def test_deep_generator_has_the_published_channels(size: int, multiples: list[int]) -> None:
    network = BigGANDeepGenerator(12, (3, size, size), width=16)
    assert parameters(network) == deep_parameters([16 * m for m in multiples], bottom=4, z=12, attention=3)


def test_deep_generator_has_the_size_read_in_the_release() -> None:
    assert round(parameters(BigGANDeepGenerator(128, (3, 32, 32))) / 1e6, 2) == 5.03


def test_biggan_has_the_published_sizes() -> None:
    generator, discriminator = BigGANGenerator(128, (3, 32, 32)), BigGANDiscriminator((3, 32, 32), 1)
    with torch.device("meta"):
        large = BigGANDiscriminator((3, 128, 128), 1)
    assert round(parameters(generator) / 1e6, 1) == 4.3  # Structural Adversarial Objectives, table 4
    assert round(parameters(discriminator) / 1e6, 1) == 4.2
    # The public PyTorch BigGAN (ch 64, attention at 64 px) with a linear classifier of 1,000 classes beside the head.
    assert parameters(large) == 39_449_258 - (1024 + 1) * 1000


@pytest.mark.parametrize("generator", [BigGANDeepGenerator, BigGANGenerator])
@pytest.mark.parametrize(
    ("size", "bottom", "attended"), [(28, 7, []), (48, 6, []), (64, 4, [64]), (96, 6, [96]), (128, 4, [64])]
)
def test_generators_start_at_four_to_seven_pixels_and_attend_after_four_stages(
    generator: Callable[..., nn.Module], size: int, bottom: int, attended: list[int]
) -> None:
    seen: list[tuple[type[nn.Module], int]] = []
    network = generator(6, (1, size, size), width=4)
    for module in network.modules():
        if isinstance(module, (nn.Unflatten, SelfAttention)):
            module.register_forward_hook(lambda m, _, y: seen.append((type(m), y.shape[-1])))
    network(torch.randn(2, 6))
    assert seen == [(nn.Unflatten, bottom), *((SelfAttention, size) for size in attended)]


@pytest.mark.parametrize("up", [False, True])
def test_deep_block_drops_surplus_channels_from_its_shortcut(up: bool) -> None:
    block = BottleneckBlock(8, 6, latent_dim=5, up=up)
    for p in block.convolutions[-1].parameters():
        nn.init.zeros_(p)
    x = torch.randn(3, 8, 4, 4)
    kept = x[:, :6]
    expected = kept.repeat_interleave(2, 2).repeat_interleave(2, 3) if up else kept
    torch.testing.assert_close(block(x, torch.randn(3, 5)), expected)


def test_conditional_batch_norm_scales_each_image_by_its_latent() -> None:
    layer, x, z = ConditionalBatchNorm(4, latent_dim=5), torch.randn(6, 4, 3, 3), torch.randn(6, 5)
    normalised = F.batch_norm(x, None, None, training=True)
    gain, bias = 1 + z @ layer.gain.weight.T, z @ layer.bias.weight.T
    torch.testing.assert_close(layer(x, z), normalised * gain[:, :, None, None] + bias[:, :, None, None])


def test_generators_batch_norms_are_found_by_type() -> None:
    """`sync_batchnorm` and `torch.optim.swa_utils.update_bn` look for them so."""
    deep, plain = BigGANDeepGenerator(6, (1, 8, 8), width=4), BigGANGenerator(6, (1, 8, 8), width=4)
    for network, count in ((deep, 2 * 4 + 1), (plain, 2 + 1)):
        converted = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        assert sum(isinstance(module, nn.SyncBatchNorm) for module in converted.modules()) == count
        assert not any(isinstance(module, nn.BatchNorm2d) for module in converted.modules())


def test_up_block_convolves_its_shortcut_at_either_size_alike() -> None:
    block, x = UpBlock(4, 6), torch.randn(2, 4, 3, 3)
    for p in block.conv2.parameters():
        nn.init.zeros_(p)
    torch.testing.assert_close(block(x), block.shortcut(F.interpolate(x, scale_factor=2)))


def test_attention_is_that_of_queries_over_pooled_keys_and_starts_switched_off() -> None:
    layer, x = SelfAttention(16), torch.randn(2, 16, 6, 6)
    assert torch.equal(layer(x), x)
    nn.init.ones_(layer.gain)
    query, key, value = (part(x).flatten(2).mT for part in (layer.query, layer.key, layer.value))
    attended = F.scaled_dot_product_attention(query, key, value, scale=1.0).mT.unflatten(2, (6, 6))
    torch.testing.assert_close(layer(x), x + layer.output(attended))
