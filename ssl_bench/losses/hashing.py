"""Random numbers that depend on an image or its id only: not on the batch, the process or what was computed before."""

import math

import torch
from torch import Tensor

FACTORS = (0x7FEB352D, 0x846CA68B)
"""Factors of a 32-bit hash with a small bias (C. Wellons, Prospecting for Hash Functions, 2018)."""
BITS = 0xFFFFFFFF


def scramble(x: Tensor) -> Tensor:
    """A hash of 32 bits of each integer, int64 of the shape of x, the same on every device."""
    x = x & BITS
    for shift, factor in zip((16, 15), FACTORS, strict=True):
        x = ((x ^ (x >> shift)) * factor) & BITS
    return x ^ (x >> 16)


def random_order(ids: Tensor, step: int, count: int) -> Tensor:
    """A random order of `count` things for each image, int64 ``(N, count)``.

    Args:
        ids: ids of the images, int64 ``(N,)``.
        step: number of the training step.
        count: number of things.
    """
    image = scramble(scramble(ids) + step)
    return stream(image, count).argsort(dim=1, stable=True)


def stream(start: Tensor, count: int) -> Tensor:
    """Hashes of 32 bits, int64 ``(N, count)``, of each start, int64 ``(N,)``."""
    places = torch.arange(count, device=start.device)
    return scramble(start[:, None] ^ scramble(places * 2 + 1))


def normal_of_images(x: Tensor, draw: int) -> Tensor:
    """Standard normal noise of the shape of images x ``(N, C, H, W)`` in [-1, 1].

    Equal images have equal noise. Images that differ in a pixel, rounded to 8 bits, have independent noise. It is the
    method of Box & Muller on hashes of 32 bits.

    Args:
        x: the images.
        draw: number of the draw.
    """
    pixels = ((x.float() + 1) * 127.5).round().long().flatten(1)
    count = pixels.shape[1]
    places = torch.arange(count, device=x.device)
    image = scramble(scramble(pixels + 256 * places).sum(1) + draw)
    uniform = (stream(image, 2 * count).double() + 0.5) / 2**32
    radius, angle = uniform.chunk(2, 1)
    return ((-2 * radius.log()).sqrt() * (2 * math.pi * angle).cos()).float().view_as(x)
