"""TIFF files: several channels and float types that Pillow does not read, and values that it does not scale."""

import io
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, ORIENTATION, SAMPLES = 256, 257, 258, 259, 262, 274, 277
STRIP_OFFSETS, ROWS_PER_STRIP, STRIP_SIZES, PLANAR, PREDICTOR = 273, 278, 279, 284, 317
TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_SIZES, EXTRA_SAMPLES, FORMAT = 322, 323, 324, 325, 338, 339
SUBFILE, REDUCED, MASK = 254, 1, 4
BIG = 43
"""Version of the files with 64-bit offsets."""
INVERTED, GREY, RGB = 0, 1, 2
ALPHA = ([1], [2])
KINDS = {1: "u", 2: "i", 3: "f"}


def numbers(tags: ImageFileDirectory_v2, tag: int, default: int = 0) -> list[int]:
    """Values of a tag as integers."""
    value = tags.get(tag, default)
    return [int(number) for number in value] if isinstance(value, tuple) else [int(value)]


def check_pages(data: bytes) -> None:
    """Check that a TIFF file has a single image; reduced copies and masks after it do not count.

    Raises:
        ValueError: there are others, which would be left out.
    """
    file = io.BytesIO(data)
    tags = ImageFileDirectory_v2(file.read(16 if data[2] == BIG else 8))
    starts: set[int] = set()
    is_image: list[bool] = []
    while tags.next and tags.next not in starts:
        starts.add(tags.next)
        file.seek(tags.next)
        tags.load(file)
        is_image.append(WIDTH in tags and not numbers(tags, SUBFILE)[0] & (REDUCED | MASK))
    if any(is_image[1:]):
        raise ValueError(
            f"a TIFF file of {len(is_image)} pages, expected one image: save each page as a file of its own, or all "
            "pages as the channels of one image"
        )


def check_integers(image: Image) -> None:
    """Check that the integers of a TIFF file that Pillow opened have a known scale.

    Raises:
        ValueError: they are signed or have more than 16 bits.
    """
    if not isinstance(image, TiffImageFile):
        return
    kind, bits = numbers(image.tag_v2, FORMAT, 1)[0], numbers(image.tag_v2, BITS, 1)[0]
    if kind == 2 or (kind == 1 and bits > 16):
        sign = "signed" if kind == 2 else "unsigned"
        raise ValueError(
            f"a TIFF file of {sign} integers of {bits} bits, expected unsigned integers of at most 16 bits or floats "
            "in [0, 1]: convert it"
        )


def scale_grey(pixels: NDArray[Any], tags: ImageFileDirectory_v2) -> NDArray[Any]:
    """Grey values of more than 8 bits, which Pillow returns as they are stored, with 0 for black.

    Values of fewer than 16 bits become floats in [0, 1]. If the file stores white as 0, the values are inverted.
    """
    bits = numbers(tags, BITS, 1)[0]
    is_integer = pixels.dtype.kind != "f"
    pixels = pixels / (2**bits - 1) if is_integer and bits < 16 else pixels
    if numbers(tags, PHOTOMETRIC, GREY)[0] != INVERTED:
        return pixels
    return 65535 - pixels if pixels.dtype.kind != "f" else 1 - pixels


def read_tiff(data: bytes, wanted: int) -> NDArray[Any] | None:
    """Pixels ``(H, W, C)`` of a TIFF file of several 16-bit or float channels, or more channels than Pillow reads.

    Grey files of 16-bit and 64-bit floats are read too. The result is None for other files, which Pillow reads. Strips
    and tiles, interleaved and separate channels are supported, uncompressed or with deflate. The fourth channel of RGB
    files and the alpha of grey files are left out if 1 or 3 channels are `wanted`.

    Raises:
        ValueError: the file is damaged, or compressed or encoded in another way.
    """
    file = io.BytesIO(data)
    tags = ImageFileDirectory_v2(file.read(8))
    file.seek(tags.next)
    tags.load(file)
    channels, bits = numbers(tags, SAMPLES, 1)[0], numbers(tags, BITS, 1)[0]
    photometric = numbers(tags, PHOTOMETRIC)[0]
    depth = channels if numbers(tags, PLANAR, 1)[0] == 1 else 1  # channels of a block
    known = photometric in (GREY, RGB) and numbers(tags, ORIENTATION, 1)[0] == 1
    usual = bits <= 8 and depth == channels <= (4 if photometric == RGB else 2)
    kind = KINDS.get(numbers(tags, FORMAT, 1)[0])
    if not known or usual or (channels == 1 and (kind, bits) not in (("f", 16), ("f", 64))):
        return None
    if kind is None or bits not in (8, 16, 32, 64) or (kind, bits) == ("f", 8) or len(set(numbers(tags, BITS, 1))) > 1:
        raise ValueError(f"a TIFF file of {channels} channels of {bits} bits is not supported: save it as .npy")
    compression, predictor = numbers(tags, COMPRESSION, 1)[0], numbers(tags, PREDICTOR, 1)[0]
    # Programs disagree on predictor 2 of floats: differences of the values, or of their bits as integers.
    if compression not in (1, 8, 32946) or predictor not in ((1,) if kind == "f" else (1, 2)):
        values = f"{'floats in ' * (kind == 'f')}{channels} channels"
        raise ValueError(
            f"TIFF compression {compression} with predictor {predictor} is not supported for {values}: save it without "
            "predictor, uncompressed, with deflate or as .npy"
        )
    height, width = numbers(tags, LENGTH)[0], numbers(tags, WIDTH)[0]
    tiled = TILE_OFFSETS in tags
    rows = numbers(tags, TILE_LENGTH)[0] if tiled else min(numbers(tags, ROWS_PER_STRIP, height)[0], height)
    columns = numbers(tags, TILE_WIDTH)[0] if tiled else width
    starts = [
        (y, x, c) for c in range(0, channels, depth) for y in range(0, height, rows) for x in range(0, width, columns)
    ]
    dtype = np.dtype(f"{'<' if data[:1] == b'I' else '>'}{kind}{bits // 8}")
    pixels = np.zeros((height, width, channels), dtype.newbyteorder("="))
    offsets = numbers(tags, TILE_OFFSETS if tiled else STRIP_OFFSETS)
    sizes = numbers(tags, TILE_SIZES if tiled else STRIP_SIZES)
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
    if wanted in (1, 3) and photometric == GREY and channels == 2 and numbers(tags, EXTRA_SAMPLES) in ALPHA:
        return pixels[..., :1]
    return pixels[..., :3] if photometric == RGB and channels == 4 and wanted in (1, 3) else pixels
