"""The rotation task (Gidaris et al. 2018, arXiv 1803.07728): by which multiple of 90 degrees was an image rotated?"""

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
    """Images of the rotation task of a batch, without copies of the upright images, which are in the batch.

    Each of the four orientations has a quarter of the batch's size, so that the task costs 3/4 N more images:

    - ``all``: every fourth image in every orientation, as in the self-supervised GAN (Chen et al. 2019, arXiv
      1811.11212, and its release compare_gan, which takes the batch's last quarter).
    - ``one``: image i in one orientation, rotated i mod 4 times (mimicry: 4 i / N times).

    The choice of images does not depend on N: if 4 divides the size of each process's part of a batch, the processes
    together choose the images that one process with the whole batch would.

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
