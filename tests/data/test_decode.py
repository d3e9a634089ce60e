"""Decoding against torchvision's transforms of the same file."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.transforms import CenterCrop, Compose, PILToTensor, Resize

from ssl_bench.data.decode import Decoder


def smooth(width: int, height: int, kind: str) -> bytes:
    # Differences of a fraction of a pixel in where the crop lies stay small on a smooth image.
    x = torch.linspace(0, 6, width).sin().mul(100).add(128)
    y = torch.linspace(0, 4, height).cos().mul(100).add(128)
    planes = torch.stack([x.expand(height, width), y.unsqueeze(1).expand(height, width), (x + y.unsqueeze(1)) / 2])
    file = io.BytesIO()
    Image.fromarray(planes.to(torch.uint8).permute(1, 2, 0).numpy()).save(file, kind)
    return file.getvalue()


def npy(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def png16(values: np.ndarray, color_type: int) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "BMP", "JPEG"])
@pytest.mark.parametrize(("width", "height"), [(178, 218), (500, 375), (64, 64), (40, 90)])
@pytest.mark.parametrize("short_side", [64, 72])
def test_equals_resize_and_centre_crop(kind: str, width: int, height: int, short_side: int) -> None:
    data = smooth(width, height, kind)
    theirs = Compose([Resize(short_side), CenterCrop(64), PILToTensor()])(Image.open(io.BytesIO(data)))
    ours = Decoder(3, 64, short_side)(data)
    assert ours.shape == (3, 64, 64)
    assert (ours.int() - theirs.int()).abs().float().mean() < 1.1  # half a pixel of their result, where they round


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "I;16", "1"])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_mode_of_png_is_decoded_to_the_given_channels(mode: str, channels: int) -> None:
    file = io.BytesIO()
    Image.new(mode, (20, 20), 1).save(file, "PNG")
    decoded = Decoder(channels, 20)(file.getvalue())
    assert decoded.shape == (channels, 20, 20)
    assert decoded.dtype == torch.uint8


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_8_bits_are_converted_as_pillow_converts_them(mode: str, channels: int) -> None:
    file, image = io.BytesIO(), Image.open(io.BytesIO(smooth(20, 20, "PNG"))).convert(mode)
    if mode == "P":
        image.info["transparency"] = 3
    image.save(file, "TIFF" if mode == "CMYK" else "PNG")
    expected = PILToTensor()(Image.open(file).convert("L" if channels == 1 else "RGB"))
    assert torch.equal(Decoder(channels, 20)(file.getvalue()), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("deep", [False, True])
def test_the_orientation_of_exif_is_applied(orientation: int, deep: bool) -> None:
    values = np.arange(16 * 16, dtype=np.uint16).reshape(16, 16)
    image, file = Image.fromarray(values * 257 if deep else values.astype(np.uint8)), io.BytesIO()
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(file, "PNG", exif=exif)
    upright = ImageOps.exif_transpose(Image.open(file))
    expected = np.asarray(upright, np.int64) // (257 if deep else 1)
    assert torch.equal(Decoder(1, 16)(file.getvalue())[0].long(), torch.from_numpy(expected))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_grey_images_are_scaled_by_their_bit_depth(kind: str, channels: int) -> None:
    values = np.linspace(0, 65535, 400).astype(np.uint16).reshape(20, 20)
    file = io.BytesIO()
    Image.fromarray(values).save(file, kind)
    decoded = Decoder(channels, 20)(file.getvalue())
    assert torch.equal(decoded[0].double(), torch.from_numpy(np.rint(values / 257)))
    assert torch.equal(decoded, decoded[:1].expand(channels, -1, -1))


@pytest.mark.parametrize(("color_type", "channels"), [(2, 3), (6, 4)])
def test_png_files_of_several_16_bit_channels_keep_the_high_byte(color_type: int, channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (8, 8, channels), np.uint16)
    decoded = Decoder(channels, 8)(png16(values, color_type))
    assert np.array_equal(decoded.numpy(), (values >> 8).transpose(2, 0, 1))


def test_a_dark_16_bit_image_stays_dark() -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8), 2570, np.uint16)).save(file, "PNG")
    assert (Decoder(3, 8)(file.getvalue()) == 10).all()


@pytest.mark.parametrize("values", [np.linspace(0, 1, 400), np.linspace(0.1, 0.2, 400)])
def test_float_images_from_0_to_1_are_scaled_by_255(values: np.ndarray) -> None:
    pixels, file = values.astype(np.float32).reshape(20, 20), io.BytesIO()
    Image.fromarray(pixels).save(file, "TIFF")
    expected = torch.from_numpy(np.rint(pixels.astype(np.float64) * 255))
    assert torch.equal(Decoder(1, 20)(file.getvalue())[0].double(), expected)


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (1.5, np.float32, r"float values from 1\.5 to 1\.5, expected \[0, 1\]"),
        (-0.1, np.float32, r"float values from -0\.1 to -0\.1, expected \[0, 1\]"),
        (np.nan, np.float32, "float values that are not finite"),
        (1.000002, np.float32, r"float values from 1\.000002 to 1\.000002, expected \[0, 1\]"),
        (255, np.int32, "signed integers of 32 bits, expected unsigned integers of at most 16 bits or floats"),
    ],
)
def test_values_without_a_known_scale_are_refused(value: float, kind: type, message: str) -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8), value, kind)).save(file, "TIFF")
    with pytest.raises(ValueError, match=message):
        Decoder(3, 8)(file.getvalue())


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_the_first_frame_of_an_animation_is_used(kind: str) -> None:
    file, frames = io.BytesIO(), [Image.new("RGB", (8, 8), (value,) * 3) for value in (40, 200)]
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], lossless=True)
    assert (Decoder(1, 8)(file.getvalue()) == 40).all()


def test_an_empty_file_is_said_to_be_empty() -> None:
    with pytest.raises(ValueError, match="the file is empty"):
        Decoder(3, 8)(b"")


@pytest.mark.parametrize("channels", [2, 4, 13])
def test_arrays_of_any_number_of_channels_are_cropped_and_resized_like_grey_images(channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 256, (24, 36, channels), np.uint8)
    expected = [Decoder(1, 8)(npy(band)) for band in values.transpose(2, 0, 1)]
    assert torch.equal(Decoder(channels, 8)(npy(values)), torch.cat(expected))


def test_arrays_and_images_of_the_same_pixels_are_the_same() -> None:
    data = smooth(40, 30, "PNG")
    values = np.asarray(Image.open(io.BytesIO(data)))
    for channels in (1, 3):
        assert torch.equal(Decoder(channels, 16)(npy(values)), Decoder(channels, 16)(data))


@pytest.mark.parametrize(
    ("shape", "channels", "message"),
    [
        ((8, 8, 4), 3, "4 channels, expected 3; if all have 4, set --data.channels 4"),
        ((8, 8, 13), 4, "13 channels, expected 4"),
        ((8, 8), 4, "1 channel, expected 4"),
        ((13, 8, 8), 13, r"shape \(13, 8, 8\), expected \(H, W, C\): move the channels to the end"),
        ((3, 8, 8), 1, r"shape \(3, 8, 8\), expected \(H, W, C\): move the channels to the end"),
        ((1, 8, 8), 3, r"shape \(1, 8, 8\), expected \(H, W, C\): move the channels to the end"),
        ((2, 2, 8, 8), 2, r"shape \(2, 2, 8, 8\), expected \(H, W\) or"),
    ],
)
def test_arrays_of_another_number_of_channels_are_refused(shape: tuple[int, ...], channels: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Decoder(channels, 8)(npy(np.zeros(shape, np.uint8)))


def test_an_image_with_alpha_has_4_channels_if_4_are_wanted() -> None:
    values, file = np.random.default_rng(0).integers(0, 256, (8, 8, 4), np.uint8), io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    assert torch.equal(Decoder(4, 8)(file.getvalue()), torch.from_numpy(values).permute(2, 0, 1))


def test_an_image_of_the_right_size_is_unchanged() -> None:
    data = smooth(32, 32, "PNG")
    assert torch.equal(Decoder(3, 32)(data), PILToTensor()(Image.open(io.BytesIO(data))))
