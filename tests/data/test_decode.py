"""Decoding against torchvision's transforms of the same file."""

import io

import pytest
import torch
from PIL import Image
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
    decoded = Decoder(channels, 20)(file.getvalue())  # type: ignore[arg-type]
    assert decoded.shape == (channels, 20, 20)
    assert decoded.dtype == torch.uint8


def test_an_image_of_the_right_size_is_unchanged() -> None:
    data = smooth(32, 32, "PNG")
    assert torch.equal(Decoder(3, 32)(data), PILToTensor()(Image.open(io.BytesIO(data))))
