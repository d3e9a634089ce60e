"""Sampling of images in batches, with the same result on any number of processes."""

import hashlib
from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from ssl_bench.distributed import all_reduce_min, share
from ssl_bench.errors import UserError
from ssl_bench.evaluation.encoder import EvaluatedEncoder

TOLERANCE = 1e-3
"""Values of samples may lie outside [0, 1] by at most this rounding error."""


def sample_images(encoder: EvaluatedEncoder, number: int, batch_size: int, seed: int) -> Iterator[tuple[int, Tensor]]:
    """Sample this process's contiguous share of the batches; shares are in rank order.

    Args:
        encoder: an encoder whose method samples images.
        number: total number of samples of all processes.
        batch_size: number of images per batch. Each batch has its own seed, so that the samples do not depend on the
            number of processes.
        seed: seed of all samples.

    Yields:
        Index of the batch, from 0, and its images ``(n, C, H, W)`` in [0, 1].

    Raises:
        UserError: a process sampled images of another shape or with values outside [0, 1]. All processes raise the
            error after the last batch.
    """
    assert encoder.sample is not None
    valid = torch.ones((), device=encoder.device)
    starts = range(0, number, batch_size)
    for i in share(len(starts)):
        n = min(batch_size, number - starts[i])
        images = encoder.sample(n, Generator(encoder.device).manual_seed(_batch_seed(seed, i)))
        within = (images >= -TOLERANCE) & (images <= 1 + TOLERANCE)  # false if not finite
        if images.shape != (n, *encoder.image_shape) or not within.all():
            valid.zero_()
            break
        yield i, images.clamp(0, 1)
    if not all_reduce_min(valid):
        raise UserError(
            f"sample(n) must give n images of shape {encoder.image_shape}, finite and in [0, 1], and did not; "
            "the method has diverged, or its function sample is wrong"
        )


def _batch_seed(seed: int, batch: int) -> int:
    """Hash of both numbers, since torch's CPU generator ignores the upper 32 bits of a seed."""
    return int.from_bytes(hashlib.sha256(f"{seed} {batch}".encode()).digest()[:7])
