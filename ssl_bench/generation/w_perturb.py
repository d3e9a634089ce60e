"""W-perturb: views of an image by noise on its code."""

import hashlib

import torch
from torch import Tensor


def truncate(codes: Tensor, mean_code: Tensor, truncation: float) -> Tensor:
    """Move codes ``(..., D)`` towards the mean code ``(D,)``: ``mean + truncation * (codes - mean)``."""
    return mean_code + truncation * (codes - mean_code)


def perturb(codes: Tensor, noise: Tensor, mean_code: Tensor, sigma: float, truncation: float) -> Tensor:
    """Add noise to codes, then truncate: ``mean + truncation * (codes + sigma * noise - mean)``.

    Args:
        codes: ``(..., L, D)``.
        noise: standard normal noise, of a shape that broadcasts with the codes'.
        mean_code: ``(D,)``.
        sigma: standard deviation.
        truncation: in [0, 1].
    """
    return truncate(codes + sigma * noise, mean_code, truncation)


def noise(ids: Tensor, seed: int, *shape: int, use: str = "views") -> Tensor:
    """Sample standard normal noise ``(N, *shape)`` on the CPU; each row depends on its id, `seed` and `use` only.

    Args:
        ids: int64 ``(N,)``.
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

    The offset is a hash of `seed` and `use`, of 32 bits as torch's CPU generator takes them. Rows of one `seed` and
    `use` have distinct seeds. Two sets of a million rows each overlap with a probability of about 1 in 2,000.
    """
    return int.from_bytes(hashlib.sha256(f"{use} {seed}".encode()).digest()[:4])
