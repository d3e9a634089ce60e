"""An encoder as the backbone of a joint-embedding method."""

from functools import partial

import pytest
import torch

from ssl_bench.errors import UserError
from ssl_bench.networks.discriminator import GroupNormBackbone, GroupNormResNet
from ssl_bench.networks.encoder_backbone import EncoderBackbone
from ssl_bench.networks.mlp import MLPEncoder


def test_features_are_the_outputs_of_the_encoder() -> None:
    backbone = EncoderBackbone((1, 4, 4), 0, partial(MLPEncoder, hidden=(8,)), dim=3)
    x = torch.randn(5, 1, 4, 4)
    assert backbone.feature_dim == 3
    torch.testing.assert_close(backbone(x), backbone.encoder(x))
    assert backbone(x).shape == (5, 3)


def test_further_outputs_are_refused() -> None:
    with pytest.raises(UserError, match="outputs 2: a backbone has 0"):
        EncoderBackbone((1, 4, 4), 2, MLPEncoder, dim=3)


def test_the_backbone_of_the_structural_gan_has_the_features_of_its_discriminator() -> None:
    torch.manual_seed(0)
    backbone = GroupNormBackbone((3, 16, 16), 0, width=8)
    torch.manual_seed(0)
    discriminator = GroupNormResNet((3, 16, 16), 1, width=8)
    x = torch.randn(2, 3, 16, 16)
    assert backbone.feature_dim == discriminator.feature_dim == 64
    assert torch.equal(backbone(x), discriminator.features(x))
    with pytest.raises(UserError, match="outputs 2: a backbone has 0"):
        GroupNormBackbone((3, 16, 16), 2)
