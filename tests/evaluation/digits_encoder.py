"""Handwritten digits as an encoder whose features are the pixels, for the protocols that look at images."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor

from ssl_bench.data.types import Batch, Split, Target
from ssl_bench.distributed import share
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.features import Features, FeatureSplit

BATCH = 50


def digits_encoder(folder: Path, scale: int = 1, **fields: Any) -> EvaluatedEncoder:
    """600 train, 100 validation and 300 test images of ``(1, 8 * scale, 8 * scale)``, shared between the ranks."""
    x, y = load_digits(return_X_y=True)
    pixels = torch.from_numpy(x).float().view(-1, 1, 8, 8).repeat_interleave(scale, 2).repeat_interleave(scale, 3) / 16
    labels = torch.from_numpy(y).long()
    slices: dict[Split, slice] = {"train": slice(600), "validation": slice(600, 700), "test": slice(700, 1000)}

    def images(split: Split) -> Iterator[Batch]:
        mine, targets = pixels[slices[split]], labels[slices[split]]
        starts = range(0, len(mine), BATCH)
        for i in share(len(starts)):
            rows = slice(starts[i], starts[i] + BATCH)
            yield Batch(mine[rows], targets[rows], torch.arange(len(mine))[rows])

    parts = [FeatureSplit(pixels[rows].flatten(1), labels[rows]) for rows in slices.values()]
    target = Target("digit", tuple("0123456789"))
    encoder = EvaluatedEncoder(
        Features(parts[0], parts[1], parts[2], (target,)),
        torch.device("cpu"),
        folder,
        data=f"digits-{8 * scale}",
        images=images,
        image_shape=(1, 8 * scale, 8 * scale),
    )
    return replace(encoder, **fields)


def noisy(images: Tensor) -> Tensor:
    """Images with fixed errors that are not small."""
    return (images + 0.2 * torch.sin(7 * torch.arange(images[0].numel())).view(images.shape[1:])).clamp(0, 1)
