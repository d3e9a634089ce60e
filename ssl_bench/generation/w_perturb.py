"""W-perturb: views of an image, made by adding noise to its code."""

import hashlib

import torch
from torch import Tensor


def truncate(codes: Tensor, mean_code: Tensor, truncation: float) -> Tensor:
    """Move codes ``(..., D)`` towards the mean code ``(D,)``: ``mean + truncation * (codes - mean)``."""
    return mean_code + truncation * (codes - mean_code)


def perturb(codes: Tensor, noise: Tensor, mean_code: Tensor, sigma: float, truncation: float) -> Tensor:
    """Add noise to codes, then truncate: ``mean + truncation * (codes + sigma * noise - mean)``.

    Args:
        codes: codes ``(..., L, D)`` before truncation.
        noise: standard normal noise; its shape must broadcast with that of the codes.
        mean_code: the generator's mean code ``(D,)``.
        sigma: standard deviation of the noise before truncation.
        truncation: factor of the truncation, in [0, 1].
    """
    return truncate(codes + sigma * noise, mean_code, truncation)


def noise(ids: Tensor, seed: int, *shape: int, use: str = "views") -> Tensor:
    """Sample standard normal noise ``(N, *shape)`` on the CPU; each row depends on its id, `seed` and `use` only.

    Args:
        ids: ids of the rows, int64 ``(N,)``.
        seed: the seed.
        *shape: shape of one row.
        use: purpose of the noise; different purposes give different noise for the same seed.
    """
    first = first_seed(seed, use)
    rows = torch.empty(len(ids), *shape)
    for row, number in zip(rows, ids.tolist(), strict=True):
        row.normal_(generator=torch.Generator().manual_seed((first + number) % 2**32))
    return rows


def first_seed(seed: int, use: str) -> int:
    """Return the seed of row 0; row i has this seed plus i.

    The seed of row 0 is a hash of `seed` and `use`. It has 32 bits, the size that torch's CPU generator uses. Rows with
    the same `seed` and `use` have distinct seeds. Two sets of a million rows each share seeds with a probability of
    about 1 in 2,000.
    """
    return int.from_bytes(hashlib.sha256(f"{use} {seed}".encode()).digest()[:4])
