"""Import StyleGAN2 weights in the layout of rosinality's stylegan2-pytorch, a common layout of trained generators."""

import argparse
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from ssl_bench.errors import UserError
from ssl_bench.methods.checkpoint import read_tensors
from ssl_bench.networks.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator

Weights = dict[str, Tensor]

STYLED = {"conv.weight": "conv.weight", "conv.modulation": "conv.style", "noise.weight": "strength",
          "activate.bias": "bias", "bias": "bias"}  # fmt: skip
"""Parameters of styled convolutions and to-RGB layers: prefix of the name in the checkpoint to prefix of the name here.
The first match is used."""
BLOCK = {"conv1.0": "conv1", "conv1.1": "conv1", "conv2.1": "conv2", "conv2.2": "conv2", "skip.1": "skip"}
HEADS = {"final_conv.0": "conv", "final_conv.1": "conv", "final_linear.0": "hidden", "final_linear.1": "head",
         "convs.0.0": "from_image", "convs.0.1": "from_image"}  # fmt: skip


def read_rosinality(file: str | Path) -> dict[str, Weights]:
    """Read the weights of a checkpoint, renamed as in this package, for each of its networks ``g_ema``, ``g``, ``d``.

    Raises:
        UserError: the file does not exist, or does not have rosinality's layout.
    """
    # Training checkpoints contain their arguments too.
    with torch.serialization.safe_globals([argparse.Namespace]):
        held = read_tensors(Path(file), advice="give a checkpoint in rosinality's layout")
    networks = {"g_ema": generator_name, "g": generator_name, "d": discriminator_name}
    if not isinstance(held, dict) or not ({"g", "g_ema"} & held.keys()):
        raise UserError(f"{file}: expected a checkpoint in rosinality's layout with a generator, 'g_ema' or 'g'")
    found: dict[str, Weights] = {}
    for network, name in networks.items():
        if network not in held:
            continue
        found[network] = {}
        for theirs, value in held[network].items():
            if theirs.endswith("kernel"):
                check_filter(file, theirs, value)
            elif (ours := name(theirs)) is None:
                raise UserError(
                    f"{file}: {network} holds {theirs}, which StyleGAN2 in rosinality's layout does not have"
                )
            else:
                found[network][ours] = arranged(theirs, value)
    return found


def arranged(theirs: str, value: Tensor) -> Tensor:
    """Remove the dimensions of length 1 that convolution weights and biases have in the checkpoint."""
    if theirs.endswith("conv.weight") and value.ndim == 5:
        return value.squeeze(0)
    return value.flatten() if theirs.endswith("bias") else value


def check_filter(file: str | Path, name: str, kernel: Tensor) -> None:
    """Refuse a low-pass filter other than [1, 3, 3, 1], the filter of the networks of this package."""
    row = kernel.new_tensor([1.0, 3.0, 3.0, 1.0]) / 8
    if kernel.shape != (4, 4) or not torch.allclose(kernel / kernel.sum(), torch.outer(row, row)):
        raise UserError(
            f"{file}: {name} is not the filter [1, 3, 3, 1]: weights trained with another filter are not supported"
        )


def generator_name(theirs: str) -> str | None:
    """Return the name of a generator's weight in this package, or None for an unknown weight."""
    if match := re.fullmatch(r"style\.(\d+)\.(weight|bias)", theirs):
        return f"mapping.layers.{int(match[1]) - 1}.{match[2]}"
    if theirs == "input.input":
        return "synthesis.constant"
    if match := re.fullmatch(r"noises\.noise_(\d+)", theirs):
        return f"synthesis.layers.{match[1]}.noise"
    if match := re.fullmatch(r"(conv|to_rgb)(?:1|s\.(\d+))\.(.+)", theirs):
        modules = {"conv": "layers", "to_rgb": "to_images"}
        for start, ours in STYLED.items():
            if match[3].startswith(start):
                module, index = modules[match[1]], int(match[2]) + 1 if match[2] else 0
                return f"synthesis.{module}.{index}.{ours}{match[3].removeprefix(start)}"
    return None


def discriminator_name(theirs: str) -> str | None:
    """Return the name of a discriminator's weight in this package, or None for an unknown weight."""
    layer, _, kind = theirs.rpartition(".")
    if layer in HEADS:
        return f"{HEADS[layer]}.{kind}"
    match = re.fullmatch(r"convs\.(\d+)\.(.+)", layer)
    return f"blocks.{int(match[1]) - 1}.{BLOCK[match[2]]}.{kind}" if match and match[2] in BLOCK else None


def sizes(weights: Weights) -> str:
    """Describe the size of a network in words, given its weights under the names of this package."""
    of = {name: tuple(value.shape) for name, value in weights.items()}
    if "synthesis.constant" in of:
        layers = [of[f"synthesis.layers.{i}.bias"][0] for i in range(99) if f"synthesis.layers.{i}.bias" in of]
        mapping = [of[name] for name in of if name.startswith("mapping.") and name.endswith("weight")]
        return (
            f"a generator of {2 ** (len(layers) // 2 + 2)} px and {of['synthesis.to_images.0.bias'][0]} channels, "
            f"widths {layers[::2]}, {len(mapping)} mapping layers from {mapping[0][1]} to {mapping[-1][0]}"
        )
    blocks = [of[f"blocks.{i}.skip.weight"][:2] for i in range(99) if f"blocks.{i}.skip.weight" in of]
    widths = [outputs for outputs, _ in reversed(blocks)] + [of["from_image.weight"][0]]
    return f"a discriminator of {4 * 2 ** len(blocks)} px and {of['from_image.weight'][1]} channels, widths {widths}"


def load_rosinality(file: str | Path, network: nn.Module, weights: Weights) -> None:
    """Load the weights of a file into a network.

    Raises:
        UserError: the network has other sizes, or is not one of `networks.stylegan2`.
    """
    if not isinstance(network, StyleGAN2Generator | StyleGAN2Discriminator):
        raise UserError(f"{file}: weights of StyleGAN2 do not fit {type(network).__name__}: give StyleGAN2's networks")
    own = network.state_dict()
    if {name: value.shape for name, value in own.items()} == {name: value.shape for name, value in weights.items()}:
        network.load_state_dict(weights)
        return
    try:
        theirs = sizes(weights)
    except (KeyError, IndexError):
        missing = sorted(own.keys() - weights.keys())
        theirs = f"no whole network ({missing[0]} is missing)" if missing else "another network"
    raise UserError(
        f"{file} holds {theirs}; the method has {sizes(own)}: give --data.size, and width, plateau, style_dim and "
        "mapping_layers of --method.generator and --method.discriminator, that fit"
    )
