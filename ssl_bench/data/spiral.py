"""A double spiral in the plane: a toy data set whose representations can be plotted."""

import math

import torch
from sklearn.datasets import make_swiss_roll
from torch import Tensor

from ssl_bench.data.contents import DatasetContents
from ssl_bench.data.module import DataModule
from ssl_bench.data.types import Target
from ssl_bench.ranges import PositiveInt, check_ranges

POINTS = {"train": 10_000, "test": 2_000}
NOISE = 0.1
"""Standard deviation of the noise on each coordinate."""


@check_ranges
def double_spiral(points: PositiveInt, seed: int) -> tuple[Tensor, Tensor]:
    """Two swiss rolls (noise 0.1) projected along their axis, the second negated, as in Li et al. 2022 (NMCE).

    Args:
        points: number of points, half of them on each arm.
        seed: random seed.

    Returns:
        Points, float32 ``(points, 2)``, in [-15, 15]; and arms, int64 ``(points,)``, 0 or 1.
    """
    roll, _ = make_swiss_roll(points, noise=NOISE, random_state=seed)
    arm = torch.arange(points) % 2
    plane = torch.as_tensor(roll[:, [0, 2]], dtype=torch.float32)
    return torch.where(arm.unsqueeze(1) == 0, plane, -plane), arm


@check_ranges
def distance_to_arms(points: Tensor, steps: PositiveInt = 4000) -> Tensor:
    """Distance of points from the nearer noise-free arm, in standard deviations of the noise.

    Args:
        points: ``(N, 2)``, in the coordinates of the data.
        steps: number of points by which each arm is approximated.

    Returns:
        ``(N,)``, >= 0. With the default the approximation error is at most 0.17 on an arm and 0.005 at a distance of
        three standard deviations; the result is never too small.
    """
    angle = torch.linspace(1.5 * math.pi, 4.5 * math.pi, steps)
    arm = torch.stack([angle * angle.cos(), angle * angle.sin()], 1)
    chunks = torch.cat([torch.cdist(chunk, torch.cat([arm, -arm])).amin(1) for chunk in points.split(1000)])
    return chunks / NOISE


class DoubleSpiral(DataModule):
    """10,000 training and 2,000 test points on two interleaved spirals (the toy of Li et al. 2022, NMCE).

    Coordinates are not scaled; the radius of the arms grows from 4.7 to 14.1.
    """

    name = "double_spiral"
    image_shape = (2,)
    mean = (0.0, 0.0)
    std = (6.9, 6.9)  # the radius is t = 1.5 pi (1 + 2u), u uniform in [0, 1], so that E[t^2] / 2 = 6.94^2
    licence = "generated"

    def read(self) -> DatasetContents:
        """Generate the splits from fixed seeds, so that they are the same in every run."""
        train, test = (double_spiral(points, seed) for seed, points in enumerate(POINTS.values()))
        rows = torch.arange(sum(POINTS.values()))
        return DatasetContents(
            images=torch.cat([train[0], test[0]]),
            labels=torch.cat([train[1], test[1]]),
            targets=(Target("arm", ("first", "second")),),
            train=rows[: POINTS["train"]],
            test=rows[POINTS["train"] :],
        )
