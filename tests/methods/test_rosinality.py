"""Import of weights in rosinality's layout: a tiny checkpoint is evaluated by independent code here."""

import argparse
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_bench.errors import UserError
from ssl_bench.methods.rosinality import load_rosinality, read_rosinality
from ssl_bench.networks.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator

STYLE, MAPPING, SIZE = 6, 3, 16
CHANNELS = {4: 5, 8: 5, 16: 5}
Weights = dict[str, Tensor]


def generator_weights() -> Weights:
    """Names and shapes of that layout, all weights random, biases and noise strengths included."""
    shapes: dict[str, tuple[int, ...]] = {"input.input": (1, CHANNELS[4], 4, 4)}
    for i in range(1, MAPPING + 1):
        shapes |= {f"style.{i}.weight": (STYLE, STYLE), f"style.{i}.bias": (STYLE,)}

    def modulated(name: str, inputs: int, outputs: int, kernel: int) -> None:
        shapes[f"{name}.conv.weight"] = (1, outputs, inputs, kernel, kernel)
        shapes[f"{name}.conv.modulation.weight"] = (inputs, STYLE)
        shapes[f"{name}.conv.modulation.bias"] = (inputs,)

    def styled(name: str, inputs: int, outputs: int) -> None:
        modulated(name, inputs, outputs, 3)
        shapes.update({f"{name}.noise.weight": (1,), f"{name}.activate.bias": (outputs,)})

    def to_rgb(name: str, inputs: int) -> None:
        modulated(name, inputs, 3, 1)
        shapes[f"{name}.bias"] = (1, 3, 1, 1)

    styled("conv1", CHANNELS[4], CHANNELS[4])
    to_rgb("to_rgb1", CHANNELS[4])
    shapes["noises.noise_0"] = (1, 1, 4, 4)
    for stage, size in enumerate((8, 16)):
        styled(f"convs.{2 * stage}", CHANNELS[size // 2], CHANNELS[size])
        styled(f"convs.{2 * stage + 1}", CHANNELS[size], CHANNELS[size])
        to_rgb(f"to_rgbs.{stage}", CHANNELS[size])
        shapes |= {f"noises.noise_{2 * stage + i}": (1, 1, size, size) for i in (1, 2)}
    weights = {name: torch.randn(shape) for name, shape in shapes.items()}
    row = torch.tensor([1.0, 3.0, 3.0, 1.0])
    for stage in range(2):
        weights[f"convs.{2 * stage}.conv.blur.kernel"] = torch.outer(row, row) / 16
        weights[f"to_rgbs.{stage}.upsample.kernel"] = torch.outer(row, row) / 16
    return weights


def discriminator_weights() -> Weights:
    shapes: dict[str, tuple[int, ...]] = {"convs.0.0.weight": (CHANNELS[SIZE], 3, 1, 1), "convs.0.1.bias": (5,)}
    for block, size in enumerate((16, 8), start=1):
        inputs, outputs = CHANNELS[size], CHANNELS[size // 2]
        shapes |= {
            f"convs.{block}.conv1.0.weight": (inputs, inputs, 3, 3),
            f"convs.{block}.conv1.1.bias": (inputs,),
            f"convs.{block}.conv2.1.weight": (outputs, inputs, 3, 3),
            f"convs.{block}.conv2.2.bias": (outputs,),
            f"convs.{block}.skip.1.weight": (outputs, inputs, 1, 1),
        }
    shapes |= {"final_conv.0.weight": (5, 6, 3, 3), "final_conv.1.bias": (5,)}
    shapes |= {"final_linear.0.weight": (5, 80), "final_linear.0.bias": (5,)}
    shapes |= {"final_linear.1.weight": (1, 5), "final_linear.1.bias": (1,)}
    weights = {name: torch.randn(shape) for name, shape in shapes.items()}
    row = torch.tensor([1.0, 3.0, 3.0, 1.0])
    for block in (1, 2):
        for layer in ("conv2", "skip"):
            weights[f"convs.{block}.{layer}.0.kernel"] = torch.outer(row, row) / 64
    return weights


def activated(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x) * math.sqrt(2)


def blurred(x: Tensor, kernel: Tensor, padding: tuple[int, int]) -> Tensor:
    return F.conv2d(F.pad(x.transpose(0, 1), padding * 2), kernel[None, None]).transpose(0, 1)


def synthesized(weights: Weights, code: Tensor) -> Tensor:
    """The image ``(3, H, H)`` of codes ``(n_latent, STYLE)``, with the noise that the file holds."""

    def modulated(name: str, x: Tensor, w: Tensor, demodulate: bool) -> Tensor:
        weight = weights[f"{name}.conv.weight"][0]
        style = weights[f"{name}.conv.modulation.weight"] @ w / math.sqrt(STYLE)
        weight = (
            weight / math.sqrt(weight[0].numel()) * (style + weights[f"{name}.conv.modulation.bias"])[:, None, None]
        )
        if demodulate:
            weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if (kernel := weights.get(f"{name}.conv.blur.kernel")) is not None:
            return blurred(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), kernel, (1, 1))
        return F.conv2d(x, weight, padding=weight.shape[2] // 2)

    def styled(name: str, x: Tensor, w: Tensor, noise: int) -> Tensor:
        y = modulated(name, x, w, True) + weights[f"{name}.noise.weight"] * weights[f"noises.noise_{noise}"]
        return activated(y + weights[f"{name}.activate.bias"][:, None, None])

    x = styled("conv1", weights["input.input"], code[0], 0)
    image = modulated("to_rgb1", x, code[1], False) + weights["to_rgb1.bias"]
    for stage in range(2):
        first = 2 * stage
        x = styled(f"convs.{first}", x, code[first + 1], first + 1)
        x = styled(f"convs.{first + 1}", x, code[first + 2], first + 2)
        spread = image.new_zeros(1, 3, 2 * image.shape[2], 2 * image.shape[3])
        spread[:, :, ::2, ::2] = image
        image = blurred(spread, weights[f"to_rgbs.{stage}.upsample.kernel"], (2, 1))
        image = image + modulated(f"to_rgbs.{stage}", x, code[first + 3], False) + weights[f"to_rgbs.{stage}.bias"]
    return image[0]


def mapped(weights: Weights, z: Tensor) -> Tensor:
    x = z / (z.square().mean(1, keepdim=True) + 1e-8).sqrt()
    for i in range(1, MAPPING + 1):
        x = activated(
            x @ (weights[f"style.{i}.weight"] * 0.01 / math.sqrt(STYLE)).T + 0.01 * weights[f"style.{i}.bias"]
        )
    return x


def expected_logit(weights: Weights, x: Tensor) -> Tensor:
    """Logit ``(1,)`` of one image ``(1, 3, H, H)``, whose deviation from itself is 0."""

    def convolved(layer: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = weights[f"{layer}.weight"]
        padding = 0 if stride == 2 else weight.shape[2] // 2
        return F.conv2d(x, weight / math.sqrt(weight[0].numel()), stride=stride, padding=padding)

    def bias(layer: str) -> Tensor:
        return weights[f"{layer}.bias"][:, None, None]

    x = activated(convolved("convs.0.0", x) + bias("convs.0.1"))
    for block in ("convs.1", "convs.2"):
        y = activated(convolved(f"{block}.conv1.0", x) + bias(f"{block}.conv1.1"))
        y = convolved(f"{block}.conv2.1", blurred(y, weights[f"{block}.conv2.0.kernel"], (2, 2)), 2)
        skip = convolved(f"{block}.skip.1", blurred(x, weights[f"{block}.skip.0.kernel"], (1, 1)), 2)
        x = (activated(y + bias(f"{block}.conv2.2")) + skip) / math.sqrt(2)
    x = torch.cat([x, x.new_full((1, 1, 4, 4), 1e-4)], 1)
    y = activated(convolved("final_conv.0", x) + bias("final_conv.1")).flatten()
    y = activated(weights["final_linear.0.weight"] @ y / math.sqrt(80) + weights["final_linear.0.bias"])
    return weights["final_linear.1.weight"] @ y / math.sqrt(5) + weights["final_linear.1.bias"]


@pytest.fixture
def held() -> dict[str, Any]:
    torch.manual_seed(0)
    arguments = argparse.Namespace(size=SIZE, channel_multiplier=2)
    return {"g": generator_weights(), "g_ema": generator_weights(), "d": discriminator_weights(), "args": arguments}


@pytest.fixture
def file(held: dict[str, Any], tmp_path: Path) -> Path:
    torch.save(held, tmp_path / "110000.pt")
    return tmp_path / "110000.pt"


def generator(size: int = SIZE, width: int = 5) -> StyleGAN2Generator:
    return StyleGAN2Generator(STYLE, (3, size, size), width, style_dim=STYLE, mapping_layers=MAPPING).eval()


@pytest.mark.parametrize("which", ["g", "g_ema"])
def test_an_imported_generator_computes_what_the_file_defines(held: dict[str, Any], file: Path, which: str) -> None:
    network = generator()
    load_rosinality(file, network, read_rosinality(file)[which])
    z, codes = torch.randn(4, STYLE), torch.randn(4, network.n_latent, STYLE)
    with torch.no_grad():
        torch.testing.assert_close(network.mapping(z), mapped(held[which], z))
        expected = torch.stack([synthesized(held[which], code) for code in codes])
        torch.testing.assert_close(network.synthesis(codes), expected, rtol=1e-4, atol=1e-4)


def test_an_imported_discriminator_computes_what_the_file_defines(held: dict[str, Any], file: Path) -> None:
    network = StyleGAN2Discriminator((3, SIZE, SIZE), 1, width=5)
    load_rosinality(file, network, read_rosinality(file)["d"])
    x = torch.randn(3, 3, SIZE, SIZE)
    with torch.no_grad():
        for image in x.split(1):
            torch.testing.assert_close(network(image)[0], expected_logit(held["d"], image), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda: generator(32), r"of 16 px and 3 channels, widths \[5, 5, 5\], 3 mapping layers from 6 to 6;"
                                r" the method has a generator of 32 px"),
        (lambda: generator(16, 8), r"widths \[5, 5, 5\].*widths \[8, 8, 8\]"),
        (lambda: StyleGAN2Discriminator((3, 32, 32), 1, 5), r"the method has a discriminator of 32 px and 3 channels"),
        (lambda: torch.nn.Linear(2, 2), r"weights of StyleGAN2 do not fit Linear"),
    ],
)  # fmt: skip
def test_weights_of_other_sizes_are_refused(file: Path, network: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_rosinality(file, network(), read_rosinality(file)["g_ema"])


def test_an_incomplete_file_is_refused_by_what_it_lacks(held: dict[str, Any], file: Path) -> None:
    del held["g_ema"]["input.input"]
    torch.save(held, file)
    with pytest.raises(UserError, match=r"synthesis\.constant is missing"):
        load_rosinality(file, generator(), read_rosinality(file)["g_ema"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda held: held.update(g_ema={"conv1.conv.wait": torch.ones(1)}), r"g_ema holds conv1\.conv\.wait"),
        (lambda held: held["g_ema"].update({"to_rgbs.0.upsample.kernel": torch.ones(2, 2)}), r"not the filter"),
        (lambda held: (held.pop("g"), held.pop("g_ema")), r"with a generator, 'g_ema' or 'g'"),
        (lambda held: held.update(optimizer=Path("/tmp")), r"objects other than tensors"),
    ],
)
def test_what_is_not_of_the_layout_is_refused(held: dict[str, Any], file: Path, change: Any, message: str) -> None:
    change(held)
    torch.save(held, file)
    with pytest.raises(UserError, match=message):
        read_rosinality(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file .*none\.pt"):
        read_rosinality(tmp_path / "none.pt")
