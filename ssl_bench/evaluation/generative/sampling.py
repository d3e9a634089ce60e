"""Images that an encoder draws: a batch at a time, the same on any number of processes."""

import hashlib
from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from ssl_bench.distributed import all_reduce_min, share
from ssl_bench.errors import UserError
from ssl_bench.evaluation.encoder import EvaluatedEncoder

SLACK = 1e-3
"""How far outside [0, 1] rounding may carry a generated image."""


def drawn(encoder: EvaluatedEncoder, number: int, batch_size: int, seed: int) -> Iterator[tuple[int, Tensor]]:
    """This process's batches of an encoder's samples, in order; parts follow one another in rank order.

    Args:
        encoder: one that draws images.
        number: images in all.
        batch_size: images drawn at once; each batch has a seed of its own, so that which images are drawn does not
            depend on the number of processes.
        seed: of them all.

    Yields:
        The batch's number, from 0, and its images ``(n, C, H, W)`` in [0, 1].

    Raises:
        UserError: in every process, after the last batch: in one of them images were wrong.
    """
    assert encoder.sample is not None
    sound = torch.ones((), device=encoder.device)
    starts = range(0, number, batch_size)
    for i in share(len(starts)):
        n = min(batch_size, number - starts[i])
        images = encoder.sample(n, Generator(encoder.device).manual_seed(_seed_of(seed, i)))
        within = (images >= -SLACK) & (images <= 1 + SLACK)  # not where they are not finite
        if images.shape != (n, *encoder.image_shape) or not within.all():
            sound.zero_()
            break
        yield i, images.clamp(0, 1)
    if not all_reduce_min(sound):
        raise UserError(
            f"sample(n) must give n images of shape {encoder.image_shape}, finite and in [0, 1], and did not; "
            "the method has diverged, or its sample is wrong"
        )


def _seed_of(seed: int, batch: int) -> int:
    """A hash of both, since torch's CPU generator takes no notice of a seed's upper 32 bits."""
    return int.from_bytes(hashlib.sha256(f"{seed} {batch}".encode()).digest()[:7])
