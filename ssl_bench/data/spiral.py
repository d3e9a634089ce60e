"""A double spiral in the plane: the toy on which a learned representation can be looked at."""

import math

import torch
from sklearn.datasets import make_swiss_roll
from torch import Tensor

from ssl_bench.data.module import DataModule, DatasetContents
from ssl_bench.data.types import Target

POINTS = {"train": 10_000, "test": 2_000}
NOISE = 0.1
# A swiss roll's radius is t = 1.5 pi (1 + 2u), u uniform in [0, 1], so a coordinate has E[t^2] / 2 on average.
SCALE = 1.5 * math.pi * math.sqrt(13 / 6)


def double_spiral(points: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two swiss rolls (noise 0.1) seen along their axis, the second negated, as in Li et al. 2022 (NMCE).

    Args:
        points: How many, half of them on each arm.
        seed: Fixes the draw.

    Returns:
        float32 ``(points, 2)``, divided by one constant to a variance near 1, and the arm 0 or 1, int64
        ``(points,)``.
    """
    roll, _ = make_swiss_roll(points, noise=NOISE, random_state=seed)
    arm = torch.arange(points) % 2
    plane = torch.as_tensor(roll[:, [0, 2]], dtype=torch.float32) / SCALE
    return torch.where(arm.unsqueeze(1) == 0, plane, -plane), arm


def distance_to_arms(points: Tensor, steps: int = 4000) -> Tensor:
    """Distance of points ``(N, 2)`` from the nearer arm as it is without noise, in standard deviations of the noise.

    Args:
        points: in the data's coordinates.
        steps: places of an arm among which the nearest is sought.

    Returns:
        ``(N,)``, >= 0; too large by up to 0.17 on an arm and by 0.005 three standard deviations away.
    """
    angle = torch.linspace(1.5 * math.pi, 4.5 * math.pi, steps)
    arm = torch.stack([angle * angle.cos(), angle * angle.sin()], 1) / SCALE
    chunks = torch.cat([torch.cdist(chunk, torch.cat([arm, -arm])).amin(1) for chunk in points.split(1000)])
    return chunks * SCALE / NOISE


class DoubleSpiral(DataModule):
    """10,000 training and 2,000 test points on two interleaved spirals (the toy of Li et al. 2022, NMCE)."""

    name = "double_spiral"
    image_shape = (2,)
    mean = (0.0, 0.0)
    std = (1.0, 1.0)
    licence = "generated"

    def read(self) -> DatasetContents:
        """Draws the splits from seeds of their own, the same in every run."""
        train, test = (double_spiral(points, seed) for seed, points in enumerate(POINTS.values()))
        rows = torch.arange(sum(POINTS.values()))
        return DatasetContents(
            images=torch.cat([train[0], test[0]]),
            labels=torch.cat([train[1], test[1]]),
            targets=(Target("arm", ("first", "second")),),
            train=rows[: POINTS["train"]],
            test=rows[POINTS["train"] :],
        )
