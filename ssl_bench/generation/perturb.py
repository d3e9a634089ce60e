"""W-perturb: views of an image by noise on its code."""

import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ssl_bench.errors import UserError


@dataclass(frozen=True)
class Perturb:
    """How codes are perturbed ("Constructive Assimilation", Han et al., Section 3.2).

    Args:
        views: of each image.
        sigma: standard deviation of the noise on every layer's code. The paper's N(0, sigma I) reads as a variance;
            released is this. What reaches the generator is truncation * sigma.
        truncation: of codes towards the mean code, in [0, 1]; by default the codes' own, at which they are the image.
        seed: of the noise, which is each image's own.
    """

    views: int = 8
    sigma: float = 0.2
    truncation: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.views >= 1 and 0 <= self.sigma < math.inf and 0 <= (self.truncation or 0) <= 1):
            raise UserError(
                f"perturb: views {self.views}, sigma {self.sigma}, truncation {self.truncation}: give views of 1 or "
                "more, sigma of 0 or more and truncation in [0, 1]"
            )


def truncate(codes: Tensor, mean_code: Tensor, truncation: float) -> Tensor:
    """Codes ``(..., D)`` moved towards the mean code ``(D,)``: ``mean + truncation * (codes - mean)``."""
    return mean_code + truncation * (codes - mean_code)


def perturb(codes: Tensor, noise: Tensor, mean_code: Tensor, sigma: float, truncation: float) -> Tensor:
    """Codes with noise on them, then truncated: ``mean + truncation * (codes + sigma * noise - mean)``.

    Args:
        codes: ``(..., L, D)``.
        noise: standard normal, of a shape that goes with the codes'.
        mean_code: ``(D,)``.
        sigma: standard deviation.
        truncation: in [0, 1].
    """
    return truncate(codes + sigma * noise, mean_code, truncation)


def noise(ids: Tensor, seed: int, *shape: int, use: str = "views") -> Tensor:
    """Standard normal noise ``(N, *shape)`` on the CPU, each row by its id, the seed and what it is used for alone."""
    first = first_seed(seed, use)
    rows = torch.empty(len(ids), *shape)
    for row, number in zip(rows, ids.tolist(), strict=True):
        row.normal_(generator=torch.Generator().manual_seed((first + number) % 2**32))
    return rows


def first_seed(seed: int, use: str) -> int:
    """Where the rows' seeds begin: torch's CPU generator takes 32 bits, so that rows count on from a hash.

    Rows of one use and seed never share theirs; those of two do by bad luck only, among a million rows of each once in
    two thousand pairs.
    """
    return int.from_bytes(hashlib.sha256(f"{use} {seed}".encode()).digest()[:4])
