"""SN-ResNets are those of their sources: sizes, ranges, features, normalisation, starts; blocks have a file."""

import itertools
import math
from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from ssl_bench.networks.sn_resnet import (
    DiscriminatorBlock,
    Family,
    GeneratorBlock,
    Norm,
    SNResNetDiscriminator,
    SNResNetGenerator,
)

families = pytest.mark.parametrize("family", get_args(Family))


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def conv(inputs: int, outputs: int, kernel: int = 3) -> int:
    return kernel**2 * inputs * outputs + outputs


def generator_parameters(family: str, channels: list[int], doubled: int) -> int:
    """By hand: a linear layer to 4 x 4, per block two convolutions, two BatchNorms and a shortcut, output."""
    total = 16 * conv(128, channels[0], 1)
    for block, (n, m) in enumerate(itertools.pairwise(channels)):
        total += conv(n, m) + conv(m, m) + 2 * n + 2 * m
        if family == "compare_gan":
            total += conv(n, m)
        elif block < doubled or n != m:
            total += conv(n, m, 1)
    return total + 2 * channels[-1] + conv(channels[-1], 3)


def discriminator_parameters(family: str, channels: list[int], halved: int) -> int:
    """By hand: per block two convolutions and a shortcut, a linear layer to one number."""
    total = 0
    for block, (n, m) in enumerate(itertools.pairwise([3, *channels])):
        if family == "compare_gan":
            total += conv(n, m) + conv(m, m) + conv(n, m)
        else:
            hidden = n if block else m
            total += conv(n, hidden) + conv(hidden, m) + (conv(n, m, 1) if block < halved or n != m else 0)
    return total + channels[-1] + 1


GENERATORS = {
    ("mimicry", 32): ([256] * 4, 3),
    ("mimicry", 64): ([1024, 512, 256, 128, 64], 4),
    ("mimicry", 128): ([1024, 1024, 512, 256, 128, 64], 5),
    ("compare_gan", 32): ([256] * 4, 3),
    ("compare_gan", 64): ([512, 512, 256, 256, 128, 64], 4),
    ("compare_gan", 128): ([512, 512, 256, 256, 128, 64], 5),
}
DISCRIMINATORS = {
    ("mimicry", 32): ([128] * 4, 2),
    ("mimicry", 64): ([64, 128, 256, 512, 1024], 5),
    ("mimicry", 128): ([64, 128, 256, 512, 1024, 1024], 5),
    ("compare_gan", 32): ([128] * 4, 2),
    ("compare_gan", 64): ([64, 128, 256, 256, 512, 512], 6),
    ("compare_gan", 128): ([64, 128, 256, 256, 512, 512], 6),
}


@pytest.mark.parametrize(("family", "size"), GENERATORS)
def test_generator_has_the_published_layout(family: Family, size: int) -> None:
    channels, doubled = GENERATORS[family, size]
    with torch.device("meta"):
        network = SNResNetGenerator(128, (3, size, size), family=family)
    assert parameters(network) == generator_parameters(family, channels, doubled)
    narrow = SNResNetGenerator(6, (3, size, size), width=2, family=family)
    expected = [(2 * m // channels[-1], 4 * 2 ** min(block, doubled)) for block, m in enumerate(channels[1:], 1)]
    assert [y.shape[1:3] for y in outputs_of_blocks(narrow, torch.randn(2, 6))] == expected


@pytest.mark.parametrize(("family", "size"), DISCRIMINATORS)
def test_discriminator_has_the_published_layout(family: Family, size: int) -> None:
    channels, halved = DISCRIMINATORS[family, size]
    with torch.device("meta"):
        network = SNResNetDiscriminator((3, size, size), 1, norm="none", family=family)
    assert parameters(network) == discriminator_parameters(family, channels, halved)
    assert network.layer_dims == channels
    narrow = SNResNetDiscriminator((3, size, size), 1, width=2, family=family)
    expected = [(2 * m // channels[0], size // 2 ** min(block, halved)) for block, m in enumerate(channels, 1)]
    assert [y.shape[1:3] for y in outputs_of_blocks(narrow, torch.rand(2, 3, size, size))] == expected


def outputs_of_blocks(network: nn.Module, x: Tensor) -> list[Tensor]:
    seen: list[Tensor] = []
    for module in network.modules():
        if isinstance(module, (GeneratorBlock, DiscriminatorBlock)):
            module.register_forward_hook(lambda _, __, y: seen.append(y))
    network(x)
    return seen


def test_mimicrys_networks_have_its_numbers_of_weights() -> None:
    assert parameters(SNResNetGenerator(128, (3, 32, 32))) == 4_276_739
    assert parameters(SNResNetDiscriminator((3, 32, 32), 1)) == 1_053_825


@pytest.mark.parametrize(("size", "sizes"), [(8, [4, 2, 2, 2]), (28, [14, 7, 7, 7])])
def test_small_images_are_halved_twice(size: int, sizes: list[int]) -> None:
    seen = outputs_of_blocks(SNResNetDiscriminator((1, size, size), 1, width=4), torch.rand(2, 1, size, size))
    assert [y.shape[-1] for y in seen] == sizes


@pytest.mark.parametrize(
    ("family", "squash", "low", "width"), [("mimicry", torch.tanh, -1, 2), ("compare_gan", torch.sigmoid, 0, 1)]
)
def test_images_have_the_range_of_the_family(
    family: Family, squash: Callable[[Tensor], Tensor], low: int, width: int
) -> None:
    def theirs(images: Tensor) -> Tensor:
        return low + width * (images + 1) / 2

    generator = SNResNetGenerator(6, (1, 8, 8), width=4, family=family).eval()
    nn.init.normal_(generator.layers[-1].weight)  # type: ignore[arg-type]
    z = torch.randn(5, 6)
    torch.testing.assert_close(theirs(generator(z)), squash(generator.layers(z)))
    discriminator = SNResNetDiscriminator((1, 8, 8), 1, width=4, family=family).eval()
    x = torch.rand(3, 1, 8, 8) * 2 - 1
    torch.testing.assert_close(outputs_of_blocks(discriminator, x)[0], discriminator.blocks[0](theirs(x)))


@pytest.mark.parametrize(("family", "share"), [("mimicry", 1), ("compare_gan", 1 / 4)])
def test_features_are_sums_or_means_over_places(family: Family, share: float) -> None:
    network = SNResNetDiscriminator((1, 8, 8), 1, width=4, family=family).eval()
    x = torch.randn(3, 1, 8, 8)
    last = outputs_of_blocks(network, x)[-1]
    torch.testing.assert_close(network.features(x), share * last.clamp_min(0).flatten(2).sum(2))  # of 2 x 2 places


@families
@pytest.mark.parametrize("size", [16, 64])
def test_layers_are_the_features_of_every_block(family: Family, size: int) -> None:
    network, x = SNResNetDiscriminator((1, size, size), 3, width=4, family=family).eval(), torch.randn(2, 1, size, size)
    layers = network.layers(x)
    assert [layer.shape for layer in layers] == [(2, dim) for dim in network.layer_dims]
    for number, layer in enumerate(layers, 1):
        assert torch.equal(layer, network.features(x, layer=number))
    assert torch.equal(layers[-1], network.features(x))
    assert network.feature_dim == network.layer_dims[-1]


def weighted(network: nn.Module) -> dict[str, nn.Conv2d | nn.ConvTranspose2d | nn.Linear]:
    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    return {name: module for name, module in network.named_modules() if isinstance(module, kinds)}


@families
def test_weight_normalisation_is_of_every_weight(family: Family) -> None:
    layers = weighted(SNResNetDiscriminator((1, 8, 8), 3, width=4, norm="weight", family=family))
    for layer in layers.values():
        norms, directions = layer.parametrizations.weight.parameters()  # type: ignore[union-attr]
        assert norms.numel() == len(directions)  # one for each output
        nn.init.normal_(norms)
        nn.init.normal_(directions)
        rows = directions.flatten(1)
        expected = rows / rows.norm(dim=1, keepdim=True) * norms.view(-1, 1)
        torch.testing.assert_close(layer.weight.flatten(1), expected)


def test_without_normalisation_no_weight_is_touched() -> None:
    network = SNResNetDiscriminator((1, 8, 8), 3, width=4, norm="none")
    assert all(isinstance(layer.weight, nn.Parameter) for layer in weighted(network).values())


@pytest.mark.parametrize("norm", ["weight", "none"])
def test_mimicry_starts_by_xavier_with_a_gain_in_residual_branches(norm: Norm) -> None:
    discriminator = SNResNetDiscriminator((3, 32, 32), 64, norm=norm)
    generator = SNResNetGenerator(128, (3, 32, 32), width=64)
    for network in (discriminator, generator):
        for name, layer in weighted(network).items():
            outputs, inputs = layer.weight.shape[:2]
            gain = math.sqrt(2) if ".conv" in name else 1
            bound = gain * math.sqrt(6 / (layer.weight[0, 0].numel() * (inputs + outputs)))  # of a uniform distribution
            assert layer.weight.abs().max() <= bound + 1e-6
            assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)


def test_compare_gan_starts_by_small_normals_and_no_biases() -> None:
    discriminator = SNResNetDiscriminator((3, 32, 32), 64, norm="none", family="compare_gan")
    generator = SNResNetGenerator(128, (3, 32, 32), width=64, family="compare_gan")
    for layer in (*weighted(discriminator).values(), *weighted(generator).values()):
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.1)
        assert layer.bias is not None
        assert not layer.bias.any()
