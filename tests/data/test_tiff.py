"""TIFF files of several channels, in strips and tiles, against the array that was written."""

import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ssl_bench.data.decode import Decoder
from ssl_bench.data.tiff import read_tiff


def tiff(
    values: np.ndarray,
    planar: bool = False,
    compression: int = 1,
    rows: int = 4,
    tile: int = 0,
    rgb: bool = False,
    more: Mapping[int, Sequence[int]] | None = None,
) -> bytes:
    """A TIFF file by the specification: strips of `rows` rows, or tiles of `tile` x `tile` pixels, with `more` tags."""
    height, width, channels = values.shape
    order = ">" if values.dtype.byteorder == ">" else "<"
    blocks = []
    for part in np.moveaxis(values, 2, 0)[..., None] if planar else [values]:
        if tile:
            padded = np.pad(part, [(0, -height % tile), (0, -width % tile), (0, 0)])
            blocks += [
                padded[y : y + tile, x : x + tile] for y in range(0, height, tile) for x in range(0, width, tile)
            ]
        else:
            blocks += [part[y : y + rows] for y in range(0, height, rows)]
    contents = [block.tobytes() if compression == 1 else zlib.compress(block.tobytes()) for block in blocks]
    offsets = [8 + sum(map(len, contents[:i])) for i in range(len(contents))]
    body = b"".join(contents)
    body += bytes(len(body) % 2)
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    tags: dict[int, Sequence[int]] = {
        256: [width], 257: [height], 258: [8 * values.itemsize] * channels, 259: [compression], 262: [2 if rgb else 1],
        277: [channels], 284: [2 if planar else 1], 339: [kind] * channels,
    }  # fmt: skip
    sizes = list(map(len, contents))
    tags |= {322: [tile], 323: [tile], 324: offsets, 325: sizes} if tile else {273: offsets, 278: [rows], 279: sizes}
    tags |= more or {}
    start = 8 + len(body)
    entries, extra = b"", b""
    after = start + 2 + 12 * len(tags) + 4
    for tag, numbers in sorted(tags.items()):
        content = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(content) > 4:
            extra, content = extra + content, struct.pack(f"{order}I", after + len(extra))
        entries += struct.pack(f"{order}HHI", tag, 4, len(numbers)) + content
    magic = b"II*\0" if order == "<" else b"MM\0*"
    head = magic + struct.pack(f"{order}I", start) + body + struct.pack(f"{order}H", len(tags))
    return head + entries + bytes(4) + extra


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("layout", [{"rows": 4}, {"rows": 100}, {"tile": 16}])
@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize(("kind", "channels"), [("<u2", 13), (">u2", 2), ("<f4", 4), ("u1", 5), ("<u2", 3)])
def test_channels_are_those_that_were_written(
    planar: bool, layout: dict[str, Any], compression: int, kind: str, channels: int
) -> None:
    values = (np.random.default_rng(0).random((18, 21, channels)) * 250).astype(kind)
    pixels = read_tiff(tiff(values, planar, compression, **layout), channels)
    assert pixels is not None
    assert np.array_equal(pixels, values)


def test_images_of_13_bands_are_decoded_by_their_bit_depth() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (8, 8, 13), np.uint16)
    expected = np.rint(values / 257).transpose(2, 0, 1)
    assert np.array_equal(Decoder(13, 8)(tiff(values)).numpy(), expected)
    with pytest.raises(ValueError, match="13 channels, expected 3"):
        Decoder(3, 8)(tiff(values))


def test_the_fourth_channel_of_rgb_is_left_out_of_rgb_images_only() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (8, 8, 4), np.uint16)
    expected = np.rint(values / 257).transpose(2, 0, 1)
    assert np.array_equal(Decoder(3, 8)(tiff(values, rgb=True)).numpy(), expected[:3])
    assert np.array_equal(Decoder(4, 8)(tiff(values, rgb=True)).numpy(), expected)


def test_an_unsupported_compression_is_named() -> None:
    with pytest.raises(ValueError, match="TIFF compression 5 with predictor 1 is not supported for 13 channels"):
        read_tiff(tiff(np.zeros((4, 4, 13), np.uint16), compression=5), 13)


def test_a_file_whose_pixels_are_missing_is_refused() -> None:
    data = tiff(np.ones((8, 8, 13), np.uint16)).replace(
        struct.pack("<HHII", 278, 4, 1, 4), struct.pack("<HHII", 278, 4, 1, 2)
    )
    with pytest.raises(ValueError, match="the TIFF file is incomplete"):
        Decoder(13, 8)(data)


def test_differences_of_neighbours_are_summed() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (4, 6, 5), np.uint16)
    differences = np.diff(values, axis=1, prepend=np.zeros((4, 1, 5), np.uint16))
    data = tiff(differences).replace(struct.pack("<HHII", 284, 4, 1, 1), struct.pack("<HHII", 317, 4, 1, 2))
    pixels = read_tiff(data, 5)
    assert pixels is not None
    assert np.array_equal(pixels, values)


@pytest.mark.parametrize("kind", ["i1", "<i2", ">i2", "<i4", "<u4"])
def test_integers_without_a_known_scale_are_refused_by_their_type(kind: str) -> None:
    sign, bits = ("signed" if "i" in kind else "unsigned"), 8 * np.dtype(kind).itemsize
    with pytest.raises(ValueError, match=f"TIFF file of {sign} integers of {bits} bits, expected .*: convert it"):
        Decoder(1, 8)(tiff(np.ones((8, 8, 1), kind)))


def test_grey_values_of_12_bits_are_scaled_by_their_bit_depth() -> None:
    values = np.arange(4096).reshape(64, 64)
    first, second = values[:, ::2], values[:, 1::2]  # two values in three bytes
    rows = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], 2).astype(np.uint8)
    data = tiff(rows.reshape(64, 96, 1), more={256: [64], 258: [12]})
    assert np.array_equal(Decoder(1, 64)(data)[0].numpy(), np.rint(values * 255 / 4095))


@pytest.mark.parametrize("kind", ["u1", "<u2", "<f4"])
def test_grey_values_that_count_from_white_are_inverted(kind: str) -> None:
    values = np.linspace(0, 1, 64).reshape(8, 8, 1)
    values = values.astype(kind) if "f" in kind else (values * np.iinfo(kind).max).round().astype(kind)
    upright = Decoder(1, 8)(tiff(values)).int()
    assert np.array_equal(Decoder(1, 8)(tiff(values, more={262: [0]})).int(), 255 - upright)


@pytest.mark.parametrize("kind", ["<f2", "<f8"])
@pytest.mark.parametrize("channels", [1, 3])
def test_grey_floats_of_16_and_64_bits_are_read(kind: str, channels: int) -> None:
    values = np.linspace(0, 1, 64).reshape(8, 8, 1).astype(kind)
    expected = np.rint(values.astype(np.float64) * 255)[..., 0]
    assert np.array_equal(Decoder(channels, 8)(tiff(values)).numpy(), np.stack([expected] * channels))


def test_the_alpha_of_16_bit_grey_is_ignored_by_grey_and_rgb_images_only() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (8, 8, 2), np.uint16)
    expected, data = np.rint(values / 257).transpose(2, 0, 1), tiff(values, more={338: [2]})
    assert np.array_equal(Decoder(1, 8)(data).numpy(), expected[:1])
    assert np.array_equal(Decoder(3, 8)(data).numpy(), expected[[0, 0, 0]])
    assert np.array_equal(Decoder(2, 8)(data).numpy(), expected)


def with_page(data: bytes, subfile: int) -> bytes:
    """A little-endian file with a second page, of the type `subfile` of tag 254."""
    (start,) = struct.unpack("<I", data[4:8])
    (count,) = struct.unpack("<H", data[start : start + 2])
    after = start + 2 + 12 * count
    tags = struct.pack("<HHII", 254, 4, 1, subfile) + struct.pack("<HHII", 256, 4, 1, 8)
    return data[:after] + struct.pack("<I", len(data)) + data[after + 4 :] + struct.pack("<H", 2) + tags + bytes(4)


@pytest.mark.parametrize(("kind", "channels"), [("u1", 1), ("<u2", 13)])
def test_pages_are_not_left_out_in_silence(kind: str, channels: int) -> None:
    data = tiff(np.ones((8, 8, channels), kind))
    with pytest.raises(ValueError, match=r"a TIFF file of 2 pages, expected one image: save each page as a file"):
        Decoder(channels, 8)(with_page(data, 0))


@pytest.mark.parametrize("big_tiff", [False, True])
def test_pages_that_pillow_wrote_are_counted(big_tiff: bool) -> None:
    file, pages = io.BytesIO(), [Image.new("L", (8, 8), value) for value in range(13)]
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:], big_tiff=big_tiff)
    with pytest.raises(ValueError, match="a TIFF file of 13 pages"):
        Decoder(13, 8)(file.getvalue())


@pytest.mark.parametrize("subfile", [1, 4, 5])
def test_reduced_copies_and_masks_are_no_pages(subfile: int) -> None:
    data = tiff(np.full((8, 8, 1), 7, np.uint8))
    assert (Decoder(1, 8)(with_page(data, subfile)) == 7).all()


def test_pages_that_refer_to_themselves_are_read_once() -> None:
    data = tiff(np.full((8, 8, 1), 7, np.uint8))
    (start,) = struct.unpack("<I", data[4:8])
    (count,) = struct.unpack("<H", data[start : start + 2])
    after = start + 2 + 12 * count
    assert (Decoder(1, 8)(data[:after] + struct.pack("<I", start) + data[after + 4 :]) == 7).all()


@pytest.mark.parametrize("compression", [1, 8])
def test_differences_of_floats_are_refused(compression: int) -> None:
    data = tiff(np.ones((8, 8, 4), np.float32), compression=compression, more={317: [2]})
    with pytest.raises(ValueError, match="with predictor 2 is not supported for floats in 4 channels: save it without"):
        read_tiff(data, 4)


def test_floats_of_8_bits_are_refused() -> None:
    with pytest.raises(ValueError, match=r"of 5 channels of 8 bits is not supported: save it as \.npy"):
        read_tiff(tiff(np.ones((8, 8, 5), np.float32), more={258: [8] * 5}), 5)
