"""A block of either family is its source's formulation, written out with the same weights."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_bench.networks.sn_resnet import DiscriminatorBlock, GeneratorBlock

Weights = dict[str, Tensor]
Convolution = Callable[[Tensor, Weights, str], Tensor]


def normalised(x: Tensor, w: Weights, norm: str) -> Tensor:
    scale, offset = (w[f"{norm}.{name}"].view(-1, 1, 1) for name in ("weight", "bias"))
    variance, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt() * scale + offset


def convolved(x: Tensor, w: Weights, name: str) -> Tensor:
    return F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], padding="same")


def unpooled_and_convolved(x: Tensor, w: Weights, name: str) -> Tensor:
    """compare_gan's: each pixel followed by a zero, each row by one of zeros, then a convolution."""
    wide = torch.stack([x, 0 * x], 4).flatten(3)
    wide = torch.stack([wide, 0 * wide], 3).flatten(2, 3)
    return F.conv2d(wide, w[f"{name}.weight"].transpose(0, 1).flip(2, 3), w[f"{name}.bias"], padding=1)


def residual(x: Tensor, w: Weights) -> Tensor:
    return convolved(convolved(x, w, "conv1").relu(), w, "conv2")


def doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def halved(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 2)


def mimicry_generator_block(x: Tensor, w: Weights) -> Tensor:
    y = convolved(doubled(normalised(x, w, "norm1").relu()), w, "conv1.1")
    return convolved(normalised(y, w, "norm2").relu(), w, "conv2") + convolved(doubled(x), w, "shortcut.0")


def compare_gan_generator_block(x: Tensor, w: Weights, convolved_first: Convolution = unpooled_and_convolved) -> Tensor:
    y = convolved_first(normalised(x, w, "norm1").relu(), w, "conv1")
    return convolved(normalised(y, w, "norm2").relu(), w, "conv2") + convolved_first(x, w, "shortcut")


BLOCKS: dict[str, tuple[nn.Module, Callable[[Tensor, Weights], Tensor]]] = {
    "mimicry G": (GeneratorBlock(3, 5, up=True, family="mimicry"), mimicry_generator_block),
    "compare_gan G": (GeneratorBlock(3, 5, up=True, family="compare_gan"), compare_gan_generator_block),
    "compare_gan G, last": (
        GeneratorBlock(3, 5, up=False, family="compare_gan"),
        partial(compare_gan_generator_block, convolved_first=convolved),
    ),
    "mimicry D, first": (
        DiscriminatorBlock(3, 5, down=True, first=True, family="mimicry"),
        lambda x, w: halved(residual(x, w)) + convolved(halved(x), w, "shortcut.1"),
    ),
    "mimicry D": (
        DiscriminatorBlock(3, 5, down=True, first=False, family="mimicry"),
        lambda x, w: halved(residual(x.relu(), w) + convolved(x, w, "shortcut.1")),
    ),
    "mimicry D, last": (
        DiscriminatorBlock(3, 3, down=False, first=False, family="mimicry"),
        lambda x, w: residual(x.relu(), w) + x,
    ),
    "compare_gan D, first": (
        DiscriminatorBlock(3, 5, down=True, first=True, family="compare_gan"),
        lambda x, w: halved(residual(x.relu(), w) + convolved(x, w, "shortcut.0")),
    ),
    "compare_gan D, last": (
        DiscriminatorBlock(3, 3, down=False, first=False, family="compare_gan"),
        lambda x, w: residual(x.relu(), w) + convolved(x, w, "shortcut.0"),
    ),
}


@pytest.mark.parametrize(("block", "plain"), BLOCKS.values(), ids=BLOCKS)
def test_block_computes_what_the_source_does(block: nn.Module, plain: Callable[[Tensor, Weights], Tensor]) -> None:
    torch.manual_seed(0)
    for p in block.parameters():
        nn.init.normal_(p)
    x = torch.randn(2, 3, 6, 6)
    torch.testing.assert_close(block(x), plain(x, dict(block.named_parameters())), rtol=1e-4, atol=1e-4)
