"""Pixels of more than 8 bits, of floats and of any number of channels as uint8 values.

The scale depends on the type of the values only, never on the values of an image, so that images stay comparable.
"""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_bench.data.tiff import BIG, check_pages, read_tiff

Pixels = NDArray[Any]
ROUNDING = 1e-6  # largest error of float32 arithmetic, such as of a resize or a normalisation that was undone


def read_pixels(data: bytes, channels: int) -> Pixels | None:
    """Pixels ``(H, W)`` or ``(H, W, C)`` of a file that Pillow would not read, or would read with fewer bits.

    These are .npy files and some TIFF files. The result is None for all others. Alpha is left out for 1 and 3
    `channels`.

    Raises:
        ValueError: the file is damaged, of a kind that is not supported, or a TIFF file of several pages.
    """
    if data.startswith(b"\x93NUMPY"):
        try:
            pixels: Pixels = np.load(io.BytesIO(data), allow_pickle=False)
        except (ValueError, EOFError):
            raise ValueError("the array is incomplete or of Python objects") from None
        if pixels.ndim not in (2, 3) or not pixels.size:
            raise ValueError(f"an array of shape {pixels.shape}, expected (H, W) or (H, W, C)")
        return pixels
    if data.startswith((b"II*\0", b"MM\0*", b"II+\0")):
        check_pages(data)
        return None if data[2] == BIG else read_tiff(data, channels)
    return None


def to_uint8(pixels: Pixels) -> NDArray[np.uint8]:
    """Scale pixels to the range 0 to 255, rounded to the nearest integer.

    uint16 values are divided by 257, floats multiplied by 255, and booleans become 0 or 255. Floats may exceed [0, 1]
    by `ROUNDING`.

    Raises:
        ValueError: values of another type, or floats that are not in [0, 1].
    """
    kind = (pixels.dtype.kind, pixels.dtype.itemsize)
    if kind == ("u", 1):
        return np.asarray(pixels, np.uint8)
    if kind == ("u", 2):
        return np.asarray((pixels.astype(np.uint32) + 128) // 257, np.uint8)
    if kind[0] == "b":
        return np.where(pixels, np.uint8(255), np.uint8(0))
    if kind[0] != "f":
        raise ValueError(f"values of type {pixels.dtype}, expected uint8, uint16, bool or floats in [0, 1]: convert it")
    if not (pixels.min() >= -ROUNDING and pixels.max() <= 1 + ROUNDING):  # also false for NaN
        found = f"from {pixels.min():.7g} to {pixels.max():.7g}" if np.isfinite(pixels).all() else "that are not finite"
        raise ValueError(f"float values {found}, expected [0, 1]: rescale all images alike")
    return np.asarray(np.rint(pixels.astype(np.float64).clip(0, 1) * 255), np.uint8)


def integers_to_uint16(pixels: Pixels) -> NDArray[np.uint16]:
    """The int32 pixels that Pillow makes of some 16-bit files.

    Raises:
        ValueError: a value does not have 16 bits.
    """
    if pixels.min() < 0 or pixels.max() > 65535:
        raise ValueError(f"integers from {pixels.min()} to {pixels.max()}, expected 0 to 65535: convert it to 16 bits")
    return pixels.astype(np.uint16)


def check_channels(pixels: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Pixels ``(H, W)`` or ``(H, W, C)`` as ``(H, W, C)``, where C is 1, 3 or `channels`.

    Raises:
        ValueError: C is neither `channels` nor the 1 or 3 channels that are converted to 3 or 1.
    """
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    found = pixels.shape[2]
    if found == channels or (found in (1, 3) and channels in (1, 3)):
        return pixels
    if pixels.shape[0] == channels or (pixels.shape[0] in (1, 3, 4) and found > 4):
        raise ValueError(f"an array of shape {pixels.shape}, expected (H, W, C): move the channels to the end")
    plural = "s" * (found > 1)
    raise ValueError(f"{found} channel{plural}, expected {channels}; if all have {found}, set --data.channels {found}")
