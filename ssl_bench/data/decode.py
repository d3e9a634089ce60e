"""Decode image files to square uint8 tensors."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile
from torch import Tensor

from ssl_bench.data.file_tree import FileTree
from ssl_bench.data.pixels import check_channels, integers_to_uint16, read_pixels, to_uint8
from ssl_bench.data.tiff import check_integers, scale_grey
from ssl_bench.errors import UserError
from ssl_bench.ranges import PositiveInt, check_ranges


class ImageError(UserError):
    """An image cannot be read.

    Only the last line of the message is kept, because a loader process sends its whole traceback as the message.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.strip().rsplit("ImageError: ", 1)[-1])


@check_ranges
@dataclass(frozen=True)
class Decoder:
    """Decode an image, crop the central square and resize it (bilinear with antialiasing).

    Up to the rounding of sizes, the result equals torchvision's ``Resize(short_side)`` and ``CenterCrop(size)`` on
    Pillow images. Decoding is faster, because only the square is resized. An image that already has this size is not
    changed.

    Values of more than 8 bits are scaled by their type: uint16 by 1 / 257, floats in [0, 1] by 255. Signed integers and
    integers of more than 16 bits are refused. Grey and RGB images are converted to each other. Any other number of
    channels must be that of the file. The first frame of an animation (GIF, APNG, WebP) is used; a TIFF file of several
    pages is refused.

    Attributes:
        channels: number of channels, 1 for grey, 3 for RGB.
        size: height and width of the result.
        short_side: length of the image's short side before the crop, >= size; default ``size``.
    """

    channels: PositiveInt
    size: PositiveInt
    short_side: PositiveInt | None = None

    def __call__(self, data: bytes) -> Tensor:
        """The image as uint8 ``(channels, size, size)``; for damaged data Pillow may raise any exception."""
        if not data:
            raise ValueError("the file is empty")
        pixels, grey_or_rgb = read_pixels(data, self.channels), self.channels in (1, 3)
        if pixels is None:
            try:
                with Image.open(io.BytesIO(data)) as file:
                    check_integers(file)
                    image = ImageOps.exif_transpose(file)
            except UnidentifiedImageError:  # its message names the buffer
                raise ValueError("unknown format") from None
            deep = image.mode in ("I", "F") or image.mode.startswith("I;")
            if grey_or_rgb and not deep:  # the other types would be clipped to 0 to 255
                return self._square(image.convert("L" if self.channels == 1 else "RGB"))
            pixels = np.asarray(image)
            pixels = integers_to_uint16(pixels) if image.mode == "I" else pixels
            pixels = scale_grey(pixels, file.tag_v2) if isinstance(file, TiffImageFile) else pixels
        bands = check_channels(to_uint8(pixels), self.channels)
        if not grey_or_rgb:
            return torch.cat(
                [self._square(Image.fromarray(np.ascontiguousarray(band))) for band in np.moveaxis(bands, 2, 0)]
            )
        image = Image.fromarray(bands.squeeze(2) if bands.shape[2] == 1 else bands)
        return self._square(image.convert("L" if self.channels == 1 else "RGB"))

    def _square(self, image: Image.Image) -> Tensor:
        side = min(image.size) * self.size / (self.short_side or self.size)
        left, top = ((extent - side) / 2 for extent in image.size)
        if image.size != (self.size, self.size) or side != self.size:
            box = (left, top, left + side, top + side)
            image = image.resize((self.size, self.size), Image.Resampling.BILINEAR, box)
        flat = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
        return flat.view(self.size, self.size, -1).permute(2, 0, 1)


class ImageFiles:
    """Images that are read and decoded whenever they are indexed, for data sets that are too large for a cache."""

    def __init__(self, tree: FileTree, names: Sequence[str], decoder: Decoder) -> None:
        self.tree, self.names, self.decoder = tree, names, decoder

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Images at rows, int64 ``(n,)``, as uint8 ``(n, C, H, W)``."""
        return torch.stack([self._decode(self.names[row]) for row in rows.tolist()])

    def _decode(self, name: str) -> Tensor:
        try:
            return self.decoder(self.tree.read(name))
        except Exception as error:  # damaged data may raise anything
            raise ImageError(f"{self.tree.path / name} is not a readable image ({error}); remove it") from error
