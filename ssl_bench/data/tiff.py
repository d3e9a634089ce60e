"""TIFF files of several channels that Pillow does not read at full depth, as satellite images often are."""

import io
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.TiffImagePlugin import ImageFileDirectory_v2

WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, ORIENTATION, SAMPLES = 256, 257, 258, 259, 262, 274, 277
STRIP_OFFSETS, ROWS_PER_STRIP, STRIP_SIZES, PLANAR, PREDICTOR = 273, 278, 279, 284, 317
TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_SIZES, FORMAT = 322, 323, 324, 325, 339
GREY, RGB = 1, 2
KINDS = {1: "u", 2: "i", 3: "f"}


def read_tiff(data: bytes, wanted: int) -> NDArray[Any] | None:
    """Pixels ``(H, W, C)`` of a TIFF file of several 16-bit or float channels, or more channels than Pillow reads.

    The result is None for other files, which Pillow reads. Strips and tiles, interleaved and separate channels are
    supported, uncompressed or with deflate. The fourth channel of RGB files is left out if 1 or 3 channels are
    `wanted`.

    Raises:
        ValueError: the file is damaged, or compressed in another way.
    """
    file = io.BytesIO(data)
    tags = ImageFileDirectory_v2(file.read(8))
    file.seek(tags.next)
    tags.load(file)

    def numbers(tag: int, default: int = 0) -> list[int]:
        value = tags.get(tag, default)
        return [int(number) for number in value] if isinstance(value, tuple) else [int(value)]

    channels, bits = numbers(SAMPLES, 1)[0], numbers(BITS, 1)[0]
    photometric, depth = numbers(PHOTOMETRIC)[0], channels if numbers(PLANAR, 1)[0] == 1 else 1  # channels of a block
    known = photometric in (GREY, RGB) and numbers(ORIENTATION, 1)[0] == 1
    usual = bits <= 8 and depth == channels <= (4 if photometric == RGB else 2)
    if channels == 1 or not known or usual:
        return None
    kind = KINDS.get(numbers(FORMAT, 1)[0])
    if kind is None or bits not in (8, 16, 32, 64) or len(set(numbers(BITS, 1))) > 1:
        raise ValueError(f"a TIFF file of {channels} channels of {bits} bits is not supported: save it as .npy")
    compression, predictor = numbers(COMPRESSION, 1)[0], numbers(PREDICTOR, 1)[0]
    if compression not in (1, 8, 32946) or predictor not in (1, 2):
        raise ValueError(
            f"TIFF compression {compression} with predictor {predictor} is not supported for {channels} channels: save "
            "it uncompressed, with deflate or as .npy"
        )
    height, width = numbers(LENGTH)[0], numbers(WIDTH)[0]
    tiled = TILE_OFFSETS in tags
    rows = numbers(TILE_LENGTH)[0] if tiled else min(numbers(ROWS_PER_STRIP, height)[0], height)
    columns = numbers(TILE_WIDTH)[0] if tiled else width
    starts = [
        (y, x, c) for c in range(0, channels, depth) for y in range(0, height, rows) for x in range(0, width, columns)
    ]
    dtype = np.dtype(f"{'<' if data[:1] == b'I' else '>'}{kind}{bits // 8}")
    pixels = np.zeros((height, width, channels), dtype.newbyteorder("="))
    offsets, sizes = numbers(TILE_OFFSETS if tiled else STRIP_OFFSETS), numbers(TILE_SIZES if tiled else STRIP_SIZES)
    try:
        for (y, x, c), offset, size in zip(starts, offsets, sizes, strict=True):
            content = (
                data[offset : offset + size] if compression == 1 else zlib.decompress(data[offset : offset + size])
            )
            present = rows if tiled else min(rows, height - y)
            block = np.frombuffer(content, dtype, present * columns * depth).reshape(present, columns, depth)
            if predictor == 2:
                block = np.cumsum(block, axis=1, dtype=pixels.dtype)
            pixels[y : y + rows, x : x + columns, c : c + depth] = block[: height - y, : width - x]
    except (ValueError, zlib.error):
        raise ValueError("the TIFF file is incomplete") from None
    return pixels[..., :3] if photometric == RGB and channels == 4 and wanted in (1, 3) else pixels
