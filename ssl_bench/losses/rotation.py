"""The rotation task (Gidaris et al. 2018, arXiv 1803.07728): predict the multiple of 90 degrees of a rotation."""

from typing import Literal

import torch
from torch import Tensor

from ssl_bench.ranges import check_ranges

NUM_ROTATIONS = 4
Orientations = Literal["all", "one"]


def rotate(images: Tensor, rotations: int) -> Tensor:
    """Images ``(N, C, H, H)`` rotated counterclockwise by ``rotations`` times 90 degrees, exactly."""
    return images.rot90(rotations, (2, 3))


@check_ranges
def rotate_images(images: Tensor, orientations: Orientations) -> tuple[Tensor, Tensor, Tensor]:
    """Rotate images of a batch for the rotation task; the upright images of the task are not copied.

    Each of the four orientations has a quarter of the batch's size, so that the task adds 3/4 N images:

    - ``all``: every fourth image in every orientation, as in the self-supervised GAN (Chen et al. 2019, arXiv
      1811.11212; its released code compare_gan uses the last quarter of the batch).
    - ``one``: image i in one orientation, rotated i mod 4 times (mimicry: 4 i / N times).

    The choice of images does not depend on N. If the size of each process's part of a batch is a multiple of 4, the
    processes together choose the same images as one process with the whole batch.

    Args:
        images: upright images ``(N, C, H, H)``, N at least 4; the last N mod 4 images are not used.
        orientations: ``all`` or ``one``, see above.

    Returns:
        The rotated images ``(3 q, C, H, H)``, q = floor(N / 4), by 90, 180 and 270 degrees; the indices ``(q,)`` of the
        task's upright images in the batch; and the labels ``(4 q,)``, 0 to 3, of the upright, then the rotated images.
    """
    quarter = len(images) // NUM_ROTATIONS
    firsts = [0] * NUM_ROTATIONS if orientations == "all" else range(NUM_ROTATIONS)
    rotated = torch.cat(
        [
            rotate(images[first : NUM_ROTATIONS * quarter : NUM_ROTATIONS], rotations)
            for rotations, first in enumerate(firsts)
            if rotations
        ]
    )
    upright = torch.arange(0, NUM_ROTATIONS * quarter, NUM_ROTATIONS, device=images.device)
    return rotated, upright, torch.arange(NUM_ROTATIONS, device=images.device).repeat_interleave(quarter)
