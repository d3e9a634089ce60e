"""Folders of images of odd types: bit depth, channels, file format, damaged files."""

import io
import json
import random
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image

from benchmarks.mutations import SIZE, Case, score_pixels
from ssl_bench.data.folder import ImageFolder

CLASSES, PER_CLASS = ("cat", "dog"), 10


def grey(pixels: np.ndarray) -> np.ndarray:
    """Luma of ITU-R 601, as Pillow computes it."""
    return np.asarray(pixels @ np.array([0.299, 0.587, 0.114]))


def write_image(path: Path, kind: str, values: np.ndarray) -> np.ndarray | None:
    """Write one image and compute its RGB pixels in 0 to 255; None if it must be refused.

    Args:
        path: path of the file without a suffix.
        kind: type of the image.
        values: random values in [0, 1), ``(size, size, 4)``.
    """
    color = (values[..., :3] * 255).round().astype(np.uint8)
    luma = color[..., 0]
    match kind:
        case "rgb png":
            Image.fromarray(color).save(f"{path}.png")
            return color
        case "grey png":
            Image.fromarray(luma).save(f"{path}.png")
            return np.stack([luma] * 3, -1)
        case "rgb bmp" | "rgb ppm" | "rgb tiff" | "rgb tga":
            Image.fromarray(color).save(f"{path}.{kind.split()[1]}")
            return color
        case "16-bit png" | "16-bit tiff":
            deep = (values[..., 0] * 65535).round().astype(np.uint16)
            Image.fromarray(deep).save(f"{path}.{kind.split()[1]}")
            return np.stack([deep / 257] * 3, -1)
        case "two-page tiff":
            Image.fromarray(color).save(f"{path}.tiff", save_all=True, append_images=[Image.fromarray(color)])
            return None
        case "float tiff":
            Image.fromarray(values[..., 0].astype(np.float32)).save(f"{path}.tiff")
            return np.stack([values[..., 0] * 255] * 3, -1)
        case "float tiff above 1":
            Image.fromarray((values[..., 0] * 100 + 2).astype(np.float32)).save(f"{path}.tiff")
            return None
        case "float tiff with nan":
            Image.fromarray(np.full((SIZE, SIZE), np.nan, np.float32)).save(f"{path}.tiff")
            return None
        case "32-bit tiff":
            Image.fromarray((values[..., 0] * 2**30).astype(np.int32) + 2**29).save(f"{path}.tiff")
            return None
        case "1-bit png":
            Image.fromarray(luma > 127).save(f"{path}.png")
            return np.stack([(luma > 127) * 255] * 3, -1)
        case "palette png":
            image = Image.fromarray(color).quantize(256)
            image.save(f"{path}.png")
            return np.asarray(image.convert("RGB"))
        case "alpha png":
            Image.fromarray(np.concatenate([color, np.full((*color.shape[:2], 1), 255, np.uint8)], -1)).save(
                f"{path}.png"
            )
            return color
        case "grey alpha png":
            Image.merge("LA", [Image.fromarray(luma), Image.new("L", luma.shape, 255)]).save(f"{path}.png")
            return np.stack([luma] * 3, -1)
        case "rotated by exif":
            image = Image.fromarray(color)
            exif = image.getexif()
            exif[0x0112] = 6
            image.save(f"{path}.png", exif=exif)
            return np.rot90(color, -1)
        case "cmyk tiff":
            image = Image.fromarray(color).convert("CMYK")
            image.save(f"{path}.tiff")
            return np.asarray(image.convert("RGB"))
        case "truncated" | "empty" | "text" | "random bytes":
            data = io.BytesIO()
            Image.fromarray(color).save(data, "png")
            content = {
                "truncated": data.getvalue()[:60],
                "empty": b"",
                "text": b"no image",
                "random bytes": color.tobytes(),
            }
            Path(f"{path}.png").write_bytes(content[kind])
            return None
    raise AssertionError(kind)


GOOD = ("rgb png", "grey png", "rgb bmp", "rgb ppm", "rgb tiff", "rgb tga", "16-bit png", "16-bit tiff", "float tiff",
        "1-bit png", "palette png", "alpha png", "grey alpha png", "rotated by exif", "cmyk tiff")  # fmt: skip
BAD = ("float tiff above 1", "float tiff with nan", "32-bit tiff", "two-page tiff", "truncated", "empty", "text",
       "random bytes")  # fmt: skip


def mutate(rng: random.Random, folder: Path) -> Case:
    """Two class folders of images, one image of an odd type; or all images of random types."""
    kind = rng.choice(GOOD + BAD)
    others = GOOD if rng.random() < 0.5 else ("rgb png",)
    channels: Literal[1, 3] = rng.choice([1, 3])
    generator = np.random.default_rng(rng.randrange(2**32))
    odd, expected = rng.randrange(len(CLASSES) * PER_CLASS), []
    for number in range(len(CLASSES) * PER_CLASS):
        path = folder / "photos" / CLASSES[number % len(CLASSES)] / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        this = kind if number == odd else rng.choice(others)
        expected.append(write_image(path, this, generator.random((SIZE, SIZE, 4))))

    def check(run: Path, output: str) -> str:
        counts = json.loads((run / "data.json").read_text())["images"]
        if counts["fit"] + counts["test"] != len(expected):
            return "silent drop"
        contents = ImageFolder(root=str(folder / "photos"), size=SIZE, channels=channels).read()
        found = contents.images[torch.arange(len(expected))].float().permute(0, 2, 3, 1).numpy()
        for pixels in expected:
            assert pixels is not None
            wanted = grey(pixels)[..., None] if channels == 1 else pixels
            if np.abs(found - wanted).max((1, 2, 3)).min() > 1.01:  # rounded twice at most
                return "wrong score"
        return ""

    refused = expected[odd] is None
    return Case(
        f"{kind} among {len(others)} types, {channels} channels",
        score_pixels("image_folder", folder / "photos", f"--data.channels={channels}"),
        codes=(2,) if refused else (0,),
        says=f"/{odd}." if refused else "",
        check=check,
    )
