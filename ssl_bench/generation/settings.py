"""Settings of the `ssl-bench views` commands. Imports neither torch nor Lightning, so that the help is fast."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from ssl_bench.ranges import (
    Interval,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    UnitFloat,
    check_ranges,
)

Distance = Annotated[float, Interval(0, 2)]
"""Euclidean distance between two L2-normalised projections."""


@check_ranges
@dataclass(frozen=True)
class InvertSettings:
    """Settings of the optimisation of codes.

    Args:
        steps: steps of Adam for each image; 0 keeps the initial codes.
        lr: learning rate of Adam.
        latent_weight: weight of the distance between the encoder's codes of the reconstruction and those of `compared`.
        compared: codes that the latent term compares with: the initial codes (start) or the optimised ones (current).
        perceptual_weight: weight of the perceptual distance; by default the weight in the run's training.
    """

    steps: NonNegativeInt = 1000
    lr: PositiveFloat = 0.01
    latent_weight: NonNegativeFloat = 2.0
    compared: Literal["start", "current"] = "start"
    perceptual_weight: NonNegativeFloat | None = None


@check_ranges
@dataclass(frozen=True)
class SearchSettings:
    """Settings of W-search ("Constructive Assimilation", Han et al., Section 3.2 and Table 9).

    Args:
        views: number of views of each anchor (n).
        eps1: distance of a view from its anchor; by default the mean distance of expert views, for this encoder.
        eps2: minimum of the mean distance of a view from the other views; smaller distances are penalised. By default
            eps1 + 0.2.
        uniformity: weight of the penalty on distances below eps2 (lambda).
        target: image from which the distance of views is measured: the reconstruction, as in the released code, or the
            image, as in the paper.
        noise: standard deviation of the initial noise on the codes, which is needed because the gradient vanishes at
            the anchor itself. The released code uses 1e-3 (CIFAR-10) and 5e-3, and no noise on the first view, so that
            the search of this view does not end.
        truncation: truncation of codes towards the mean code; by default the one at which the codes reproduce their
            images.
        lr: learning rate of Adam.
        steps: maximum number of steps of Adam.
        tolerance: loss of an anchor at which its search ends.
        seed: seed of the noise, which is sampled for each anchor separately.
    """

    views: Annotated[int, Interval(2)] = 8
    eps1: Distance | None = None
    eps2: Distance | None = None
    uniformity: NonNegativeFloat = 0.01
    target: Literal["reconstruction", "image"] = "reconstruction"
    noise: PositiveFloat = 1e-3
    truncation: UnitFloat | None = None
    lr: PositiveFloat = 0.01
    steps: NonNegativeInt = 1000
    tolerance: NonNegativeFloat = 1e-3
    seed: int = 0


@check_ranges
@dataclass(frozen=True)
class PerturbSettings:
    """Settings of W-perturb ("Constructive Assimilation", Han et al., Section 3.2).

    Args:
        views: number of views of each image.
        sigma: standard deviation of the noise on the code of every layer, before truncation. In the paper's N(0, sigma
            I), sigma is a variance; the released code uses it as the standard deviation. The generator receives noise
            of standard deviation truncation * sigma.
        truncation: truncation of codes towards the mean code; by default the one at which the codes reproduce their
            images.
        seed: seed of the noise, which is sampled for each image separately.
    """

    views: PositiveInt = 8
    sigma: NonNegativeFloat = 0.2
    truncation: UnitFloat | None = None
    seed: int = 0


@check_ranges
@dataclass(frozen=True)
class SampleSettings:
    """Settings of sampling from a generator.

    Args:
        truncation: truncation of codes towards the mean code; below 1 images are less diverse.
        seed: seed of the latents, which are sampled for each image separately.
    """

    truncation: Annotated[float, Interval(0, 1, closed="right")] = 1.0
    seed: int = 0


@check_ranges
@dataclass(frozen=True)
class Job:
    """Settings of every command that makes a folder of rows.

    Args:
        out: folder to make; by default views/KIND-DATA-HASH.
        images: number of rows, made for the first images in the data's fixed order; by default all images.
        batch_size: number of images that are processed at a time. For a search it is the largest number of anchors;
            fewer are searched at a time if the memory is not sufficient.
        precision: precision of the networks; bf16 uses channels-last convolutions.
        shard_rows: number of rows of a file. A process that is killed loses its unfinished file; a search loses all
            files with unfinished anchors.
        wait: wait while another process works in the same folder.
    """

    out: Path | None = None
    images: PositiveInt | None = None
    batch_size: PositiveInt = 128
    precision: Literal["float32", "bf16"] = "float32"
    shard_rows: PositiveInt = 1000
    wait: bool = field(default=False, metadata={"switch": True})


@dataclass(frozen=True)
class RunData:
    """Where the data of a run are.

    Args:
        root: root of the run's data, if they have been moved; by default as in the run's configuration.
    """

    root: Path | None = field(default=None, metadata={"flag": "data.root"})


@check_ranges
@dataclass(frozen=True)
class MineSettings:
    """Settings of the estimation of mutual information by MINE.

    Args:
        epochs: epochs of training of the critic.
        batch_size: batch size of the critic; with ``all_pairs``, no estimate exceeds its logarithm.
        lr: learning rate of the critic's Adam.
        width: width of the critic's ResNet-18.
        marginal: pairs that represent independent views: ``all_pairs`` of a batch, or ``shuffle``, a random partner for
            each view, as in the released code of "Constructive Assimilation".
        seed: seed of the critic and the views.
    """

    epochs: NonNegativeInt = 10
    batch_size: Annotated[int, Interval(2)] = 256
    lr: PositiveFloat = 5e-3
    width: PositiveInt = 64
    marginal: Literal["all_pairs", "shuffle"] = "all_pairs"
    seed: int = 0
