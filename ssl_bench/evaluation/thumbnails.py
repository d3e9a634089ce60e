"""Thumbnails of single images of a split, for image grids."""

import torch.nn.functional as F
from torch import Tensor

from ssl_bench.data.types import Split
from ssl_bench.distributed import share_out, world_size
from ssl_bench.evaluation.encoder import EvaluatedEncoder

MAX_SIDE = 96
"""Longest side of a thumbnail in pixels."""


def fetch_thumbnails(encoder: EvaluatedEncoder, split: Split, ids: Tensor) -> dict[int, Tensor]:
    """Thumbnails of the images of a split, by id; the same in every process.

    Args:
        encoder: the encoder under evaluation, for its images.
        split: split of the images.
        ids: ids of the images, int64.

    Returns:
        Images ``(C, H, W)`` on the CPU; empty if the data are points or there are no images.
    """
    found: dict[int, Tensor] = {}
    wanted = set(ids.tolist())
    last = max(wanted, default=-1)
    for batch in encoder.images(split) if encoder.images is not None else ():
        if batch.images.ndim != 4 or int(batch.ids[0]) > last:
            break
        for row, i in enumerate(batch.ids.tolist()):
            if i in wanted:
                found[i] = thumbnails(batch.images[row : row + 1])[0]
    parts = share_out([lambda: found] * world_size())
    return {i: image for part in parts for i, image in part.items()}


def thumbnails(images: Tensor) -> Tensor:
    """Images ``(n, C, H, W)`` on the CPU, reduced to 96 x 96 if a side is longer."""
    large = max(images.shape[2:]) > MAX_SIDE
    return (F.interpolate(images.float(), size=(MAX_SIDE, MAX_SIDE), mode="area") if large else images.float()).cpu()
