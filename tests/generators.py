"""A tiny untrained generator, equal in every process, and a perceptual distance."""

import functools
import tempfile
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_bench.config.resolve import build, resolve
from ssl_bench.config.stack import stack

FOLDER = tempfile.TemporaryDirectory()
FLAGS = [
    "--method.latent_dim=8", "--method.generator.width=16", "--method.generator.style_dim=8",
    "--method.generator.mapping_layers=2", "--method.discriminator.width=16",
]  # fmt: skip


@functools.cache
def generator_checkpoint() -> str:
    """Path of a checkpoint of an untrained METHOD=stylegan2 for digits."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        method = build(resolve([*stack("stylegan2", "digits", None), *FLAGS])).method
    path = Path(FOLDER.name) / "generator.ckpt"
    torch.save({"method": method.config, "state_dict": method.state_dict()}, path)
    return str(path)


class Blurred:
    """A perceptual distance: the mean absolute difference of means of 2 x 2 pixels."""

    name = "blurred"

    def features(self, images: Tensor) -> list[Tensor]:
        return [F.avg_pool2d(images, 2)]

    def distance(self, images: Tensor, features: list[Tensor]) -> Tensor:
        return (F.avg_pool2d(images, 2) - features[0]).abs().mean((1, 2, 3))
