"""The rotation task (Gidaris et al. 2018, arXiv 1803.07728): which quarter turn was an image given?"""

from typing import Literal

import torch
from torch import Tensor

NUM_ROTATIONS = 4
Orientations = Literal["all", "one"]


def quarter_turn(images: Tensor, turns: int) -> Tensor:
    """Images ``(N, C, H, H)`` turned counterclockwise by ``turns`` times 90 degrees; exactly, pixels only move."""
    return images.rot90(turns, (2, 3))


def rotate_images(images: Tensor, orientations: Orientations) -> tuple[Tensor, Tensor, Tensor]:
    """The rotation task of a batch, upright images left to the batch itself: they are encoded there anyway.

    A quarter of the batch's size for each of the four orientations, so that the task costs 3/4 N further images:

    - ``all``: every fourth image in every orientation, as in the self-supervised GAN (Chen et al. 2019, arXiv
      1811.11212, and its release compare_gan, which takes the batch's last quarter).
    - ``one``: image i in one orientation, turned i mod 4 times (mimicry: 4 i / N times).

    Which images are taken does not depend on N, so that processes with a part of a batch each take those of the whole,
    if 4 divides the parts.

    Args:
        images: upright images ``(N, C, H, H)``, N at least 4; of a rest that is not divided by 4 none is taken.
        orientations: which.

    Returns:
        The turned images ``(3 q, C, H, H)``, q = floor(N / 4), once, twice and three times; the indices ``(q,)`` of the
        batch's images that are the task's upright ones; and the labels ``(4 q,)``, 0 to 3, of the upright, then the
        turned ones.
    """
    quarter = len(images) // NUM_ROTATIONS
    firsts = [0] * NUM_ROTATIONS if orientations == "all" else range(NUM_ROTATIONS)
    moved = torch.cat(
        [
            quarter_turn(images[first : NUM_ROTATIONS * quarter : NUM_ROTATIONS], turns)
            for turns, first in enumerate(firsts)
            if turns
        ]
    )
    upright = torch.arange(0, NUM_ROTATIONS * quarter, NUM_ROTATIONS, device=images.device)
    return moved, upright, torch.arange(NUM_ROTATIONS, device=images.device).repeat_interleave(quarter)
