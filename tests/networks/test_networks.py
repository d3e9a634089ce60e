"""Networks: shapes they take and give, and the sizes their sources state."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet18, resnet50

from ssl_bench.errors import UserError
from ssl_bench.networks.mlp import MLPDecoder, MLPEncoder
from ssl_bench.networks.projector import ProjectionHead
from ssl_bench.networks.resnet import BottleneckResNetEncoder, ResNetEncoder
from ssl_bench.networks.simvae import ThreeStageEncoder, TransposedDecoder
from ssl_bench.networks.timm_backbone import TimmBackbone


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (2,)])
def test_mlps_map_images_to_vectors_and_back(shape: tuple[int, ...]) -> None:
    assert MLPEncoder(shape, 7, (5,))(torch.rand(3, *shape)).shape == (3, 7)
    assert MLPDecoder(4, shape, (5,))(torch.rand(3, 4)).shape == (3, *shape)


@pytest.mark.parametrize(("size", "stem"), [(32, 3), (64, 4)])
def test_convolutional_networks_map_images_to_vectors_and_back(size: int, stem: int) -> None:
    x = torch.rand(2, 3, size, size)
    for encoder in (
        ResNetEncoder((3, size, size), 7, width=8),
        ResNetEncoder((3, size, size), 7, width=8, stem="imagenet"),
        ThreeStageEncoder((3, size, size), 7, width=8, stem=stem),
    ):
        assert encoder(x).shape == (2, 7)
    assert TransposedDecoder(5, (3, size, size), width=4)(torch.rand(2, 5)).shape == (2, 3, size, size)


def test_mlps_have_the_published_sizes() -> None:
    assert round(parameters(MLPEncoder((1, 28, 28), 20)) / 1e6, 2) == 2.83
    assert round(parameters(MLPDecoder(10, (1, 28, 28))) / 1e6, 2) == 2.83


def test_resnet_is_torchvisions_resnet18() -> None:
    assert parameters(ResNetEncoder((3, 224, 224), 1000, stem="imagenet")) == parameters(resnet18())


def test_resnet_with_bottlenecks_is_torchvisions_resnet50() -> None:
    network = BottleneckResNetEncoder((3, 224, 224), 1000, stem="imagenet")
    assert parameters(network) == parameters(resnet50())
    assert network.feature_dim == 2048


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("model", "dim"), [("test_resnet", 96), ("mobilenetv3_small_050", 1024)])
def test_models_of_timm_are_backbones(channels: int, model: str, dim: int) -> None:
    """A head that widens the pooled features, as that of MobileNetV3 from 288, is a part of it."""
    backbone = TimmBackbone((channels, 32, 32), 0, model)
    assert backbone(torch.rand(2, channels, 32, 32)).shape == (2, backbone.feature_dim) == (2, dim)


def test_a_model_that_timm_does_not_have_is_refused() -> None:
    with pytest.raises(UserError, match=r"timm/resnot"):
        TimmBackbone((3, 32, 32), 0, "resnot")


@pytest.mark.parametrize("norm", [True, False])
def test_projection_heads_have_the_given_shape_and_norm(norm: bool) -> None:
    head = ProjectionHead(6, 4, (5, 7), norm=norm, norm_outputs=norm)
    outputs = head(torch.randn(64, 6))
    assert outputs.shape == (64, 4)
    assert torch.allclose(outputs.mean(0), torch.zeros(4), atol=1e-5) == norm


def test_resnet_stages_have_doubling_widths_and_halving_sizes() -> None:
    network = ResNetEncoder((3, 32, 32), 0, width=4)
    assert network.feature_dim == 32
    assert network.backbone[:-2](torch.rand(1, 3, 32, 32)).shape == (1, 32, 4, 4)


def test_released_simvae_networks_have_the_sizes_read_in_the_release() -> None:
    assert round(parameters(ThreeStageEncoder((3, 32, 32), 128)) / 1e6, 2) == 0.97
    assert round(parameters(TransposedDecoder(64, (3, 32, 32))) / 1e6, 2) == 8.98
    assert round(parameters(TransposedDecoder(64, (3, 64, 64))) / 1e6, 2) == 9.38


def test_unsupported_image_sizes_of_the_decoder_are_refused() -> None:
    with pytest.raises(UserError, match="28 px: give a size that is a multiple of 16"):
        TransposedDecoder(5, (1, 28, 28))
