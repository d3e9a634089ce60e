"""What every generator and every discriminator owes the adversarial methods, at every size of our data."""

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ssl_bench.errors import UserError
from ssl_bench.networks.attention import SelfAttention
from ssl_bench.networks.biggan import BigGANDiscriminator, BigGANGenerator
from ssl_bench.networks.biggan_deep import BigGANDeepGenerator
from ssl_bench.networks.discriminator import GroupNormResNet
from ssl_bench.networks.mlp import MLPDiscriminator, MLPGenerator
from ssl_bench.networks.sn_resnet import SNResNetDiscriminator, SNResNetGenerator

Factory = Callable[..., nn.Module]
SHAPES = [(1, 8, 8), (3, 16, 16), (1, 28, 28), (3, 32, 32), (3, 64, 64), (3, 128, 128)]
DISCRIMINATORS: dict[str, Factory] = {
    "group norm": partial(GroupNormResNet, width=4),
    "spectral norm": partial(GroupNormResNet, width=4, norm="spectral"),
    "BigGAN": partial(BigGANDiscriminator, width=4),
    "MLP": partial(MLPDiscriminator, hidden=(5, 6)),
    "mimicry": partial(SNResNetDiscriminator, width=4),
    "compare_gan": partial(SNResNetDiscriminator, width=4, family="compare_gan"),
    "weight norm": partial(SNResNetDiscriminator, width=4, norm="weight"),
    "no norm": partial(SNResNetDiscriminator, width=4, norm="none"),
}
GENERATORS: dict[str, Factory] = {
    "BigGAN-deep": partial(BigGANDeepGenerator, width=4),
    "BigGAN": partial(BigGANGenerator, width=4),
    "MLP": partial(MLPGenerator, hidden=(5, 6)),
    "mimicry": partial(SNResNetGenerator, width=4),
    "compare_gan": partial(SNResNetGenerator, width=4, family="compare_gan"),
}
discriminators = pytest.mark.parametrize("factory", DISCRIMINATORS.values(), ids=DISCRIMINATORS)
generators = pytest.mark.parametrize("factory", GENERATORS.values(), ids=GENERATORS)
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


NETWORKS = {
    **{
        f"D {name} {size} px": (factory, (1, size, size))
        for name, factory in DISCRIMINATORS.items()
        for size in (8, 128)
    },
    **{f"G {name} {size} px": (factory, (1, size, size)) for name, factory in GENERATORS.items() for size in (8, 128)},
}


@pytest.fixture(params=NETWORKS)
def example(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor]:
    """Each network, small and large, and a batch for it; attention, which starts switched off, is on."""
    factory, shape = NETWORKS[request.param]
    generates = request.param.startswith("G")
    network = factory(6, shape) if generates else factory(shape, 7)
    for module in network.modules():
        if isinstance(module, SelfAttention):
            nn.init.ones_(module.gain)
    return network, torch.randn(3, 6) if generates else torch.randn(3, *shape)


@shapes
@discriminators
def test_discriminators_map_images_to_features_and_outputs(factory: Factory, shape: tuple[int, ...]) -> None:
    network, x = factory(shape, 7), torch.rand(2, *shape)
    assert network.features(x).shape == (2, network.feature_dim)  # type: ignore[operator]
    assert network(x).shape == (2, 7)


@discriminators
def test_outputs_are_the_head_of_the_features(factory: Factory) -> None:
    network, x = factory((1, 8, 8), 7).eval(), torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(network(x), network.head(network.features(x)))  # type: ignore[operator]


@shapes
@generators
def test_images_of_generators_lie_between_minus_one_and_one(factory: Factory, shape: tuple[int, ...]) -> None:
    images = factory(6, shape)(torch.randn(4, 6))
    assert images.shape == (4, *shape)
    assert images.abs().max() <= 1
    assert not torch.allclose(images[0], images[1])


def test_points_are_not_squashed() -> None:
    generator = MLPGenerator(6, (2,), hidden=(16,))
    torch.nn.init.normal_(generator.layers[-3].weight, std=10.0)  # type: ignore[arg-type]
    points = generator(torch.randn(50, 6))
    assert points.shape == (50, 2)
    assert points.abs().max() > 1
    assert MLPDiscriminator((2,), 7, hidden=(5,))(points).shape == (50, 7)


def test_networks_of_points_have_the_scale_of_the_data() -> None:
    torch.manual_seed(0)
    z = torch.randn(50, 6)
    torch.manual_seed(1)
    plain = MLPGenerator(6, (2,), hidden=(16,))(z)
    torch.manual_seed(1)
    assert torch.equal(MLPGenerator(6, (2,), hidden=(16,), output_std=7.0)(z), 7 * plain)
    layer = next(
        m for m in MLPDiscriminator((2,), 7, hidden=(500,), input_std=4.0).modules() if isinstance(m, torch.nn.Linear)
    )
    assert 5.9 < layer.bias.abs().max() <= 6  # 1.5 standard deviations


@shapes
@discriminators
def test_images_of_a_batch_do_not_interact(factory: Factory, shape: tuple[int, ...]) -> None:
    x = torch.rand(3, *shape, requires_grad=True)
    (gradient,) = torch.autograd.grad(factory(shape, 7)(x)[0].sum(), x)
    assert gradient[0].any()
    assert not gradient[1:].any()


@discriminators
@pytest.mark.parametrize("size", [8, 128])
def test_forward_mode_is_the_transpose_of_backward_mode(factory: Factory, size: int) -> None:
    network = factory((1, size, size), 7).double().eval()
    x, v = torch.randn(2, 2, 1, size, size, dtype=torch.float64)
    w = torch.randn(2, 7, dtype=torch.float64)
    pushed = torch.func.jvp(network, (x,), (v,))[1]
    pulled = torch.func.vjp(network, x)[1](w)[0]
    torch.testing.assert_close((pushed * w).sum(), (pulled * v).sum())


@discriminators
@pytest.mark.parametrize("size", [8, 128])
def test_second_derivatives_reach_the_weights(factory: Factory, size: int) -> None:
    network, x = factory((1, size, size), 7), torch.randn(2, 1, size, size, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x).sum(), x, create_graph=True)
    gradient.square().sum().backward()
    first = next(p for p in network.parameters() if p.ndim > 1)
    assert first.grad is not None
    assert first.grad.abs().sum() > 0


def test_gradients_reach_all_weights(example: tuple[nn.Module, Tensor]) -> None:
    network, x = example
    network(x).square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []
    assert [name for name, p in network.named_parameters() if p.ndim > 1 and p.grad.abs().sum() == 0] == []  # type: ignore[union-attr]


def test_copies_are_equal_and_apart(example: tuple[nn.Module, Tensor]) -> None:
    network, x = example
    network(x)  # moves BatchNorm's statistics and spectral norm's vectors
    twin, other = copy.deepcopy(network).eval(), copy.deepcopy(network).eval()
    for tensor in (*other.parameters(), *other.buffers()):
        tensor.data.zero_()
    other.load_state_dict(network.state_dict())
    before = network.eval()(x)
    with torch.no_grad():
        for p in network.parameters():
            p.mul_(0)
    assert torch.equal(twin(x), before)
    assert torch.equal(other(x), before)


def test_mixed_precision_is_close_to_float32(example: tuple[nn.Module, Tensor]) -> None:
    network, x = example
    exact = network(x)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = network(x)
    assert (mixed.float() - exact).norm() < 0.25 * exact.norm()


def test_layout_of_convolutions_changes_nothing(example: tuple[nn.Module, Tensor]) -> None:
    network, x = example
    expected = network.eval()(x)
    moved = network.to(memory_format=torch.channels_last)
    images = x.to(memory_format=torch.channels_last) if x.ndim == 4 else x
    torch.testing.assert_close(moved(images), expected, rtol=1e-3, atol=1e-4)


SPECTRAL = {
    "group norm D": (DISCRIMINATORS["spectral norm"], False),
    "BigGAN D": (DISCRIMINATORS["BigGAN"], False),
    "mimicry D": (DISCRIMINATORS["mimicry"], False),
    "compare_gan D": (DISCRIMINATORS["compare_gan"], False),
    "BigGAN-deep G": (GENERATORS["BigGAN-deep"], True),
    "BigGAN G": (GENERATORS["BigGAN"], True),
}
spectral = pytest.mark.parametrize(("factory", "generates"), SPECTRAL.values(), ids=SPECTRAL)


def layers(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]


@spectral
def test_all_weights_are_spectrally_normalised(factory: Factory, generates: bool) -> None:
    shape = (1, 128, 128)
    network = factory(6, shape) if generates else factory(shape, 7)
    assert all(parametrize.is_parametrized(layer, "weight") for layer in layers(network))


@spectral
def test_normalised_weights_have_norm_one_after_some_steps(factory: Factory, generates: bool) -> None:
    shape = (1, 8, 8)
    network = factory(6, shape) if generates else factory(shape, 7)
    for layer in layers(network):  # so large a step that the norm must be found anew
        nn.init.normal_(layer.parametrizations.weight.original)  # type: ignore[union-attr, arg-type]
    with torch.no_grad():
        for _ in range(60):
            network(torch.randn(2, 6) if generates else torch.randn(2, *shape))
        norms = [torch.linalg.matrix_norm(layer.weight.flatten(1), 2) for layer in layers(network)]  # type: ignore[operator]
    torch.testing.assert_close(torch.stack(norms), torch.ones(len(norms)), rtol=0.1, atol=0)


@pytest.mark.parametrize("network", [GroupNormResNet, BigGANDiscriminator, SNResNetDiscriminator])
@pytest.mark.parametrize("shape", [(2,), (3, 7, 32)])
def test_unsupported_images_of_discriminators_are_refused(network: Factory, shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"images \(C, H, W\) of 8 px or more"):
        network(shape, 7)


@pytest.mark.parametrize("network", [BigGANDeepGenerator, BigGANGenerator, SNResNetGenerator])
@pytest.mark.parametrize("shape", [(2,), (3, 32, 64), (3, 30, 30), (3, 4, 4), (3, 256, 256)])
def test_unsupported_image_sizes_of_generators_are_refused(network: Factory, shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="such as 8, 28, 32, 64 or 128"):
        network(6, shape)
