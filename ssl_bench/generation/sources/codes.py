"""Codes of the training images and their generator, shared by the sources that synthesize views during training."""

from pathlib import Path

import torch
from torch import Tensor

from ssl_bench.data.module import DataModule
from ssl_bench.data.shards import Shards
from ssl_bench.errors import UserError
from ssl_bench.generation.image_identity import identify_code_images
from ssl_bench.generation.sources.rows_by_id import RowsById
from ssl_bench.generation.trained_run import load_generator

PART = 256
"""Number of images that are synthesized at a time."""


class CodeSource:
    """Codes of the training images, and their generator.

    Args:
        folder: codes made by `ssl-bench views invert` or `views sample`.
        data: data module, set up.
        device: device of the codes and the generator.
        autocast: lower precision for the generator; None is float32.

    Attributes:
        by_id: codes ``(N, L, D)`` before truncation, by image id.
        mean: the generator's mean code ``(D,)``.
        truncation: the truncation at which the codes reproduce their images.

    Raises:
        UserError: codes are missing or belong to other images, or their generator is not available.
    """

    def __init__(self, folder: str | Path, data: DataModule, device: torch.device, autocast: torch.dtype | None = None):
        codes = Shards(folder)
        codes.require_complete(f"`ssl-bench views {codes.key['kind']} --out {folder}` and its other arguments")
        self.generator = load_generator(codes, device)
        if tuple(self.generator.image_shape) != tuple(data.image_shape):
            raise UserError(
                f"{folder}: its generator makes images of {tuple(self.generator.image_shape)}, {data.name} has images "
                f"of {tuple(data.image_shape)}: give codes of a generator of that size"
            )
        self.by_id = RowsById(codes, "codes", identify_code_images(codes), data, device)
        self.mean = self.generator.mean_code()
        self.truncation: float = codes.key["settings"]["truncation"]
        self.device, self.autocast = device, autocast

    def synthesize(self, codes: Tensor) -> Tensor:
        """Synthesize images ``(N, C, H, W)``, float in [0, 1], from truncated codes ``(N, L, D)``.

        Without gradients, they are synthesized in parts of `PART`, so that the memory of activations does not grow.
        """
        parts = [codes] if torch.is_grad_enabled() and codes.requires_grad else codes.split(PART)
        with torch.autocast(self.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            images = [self.generator.synthesize(part).float().clamp(0, 1) for part in parts]
        return torch.cat(images)
