"""From the bytes of an image file to a square uint8 tensor."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from ssl_bench.data.file_tree import FileTree
from ssl_bench.errors import UserError


class ImageError(UserError):
    """An image cannot be read.

    Its message is cut to the last line, since a loader process sends its whole traceback along as message.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.strip().rsplit("ImageError: ", 1)[-1])


@dataclass(frozen=True)
class Decoder:
    """Decodes, crops the central square and resizes it (bilinear with antialiasing).

    Equal, up to the rounding of sizes, to torchvision's ``Resize(short_side)`` then ``CenterCrop(size)`` on Pillow
    images, and cheaper, since only the square is resized. An image whose square has this size already is left as it is.

    Attributes:
        channels: 1 for grey, 3 for RGB.
        size: Height and width of the result.
        short_side: What the image's short side is resized to before the crop, >= size; default ``size``.
    """

    channels: Literal[1, 3]
    size: int
    short_side: int | None = None

    def __call__(self, data: bytes) -> Tensor:
        """Returns uint8 ``(channels, size, size)``; raises whatever Pillow does for damaged data."""
        try:
            with Image.open(io.BytesIO(data)) as file:
                image = ImageOps.exif_transpose(file).convert("L" if self.channels == 1 else "RGB")
        except UnidentifiedImageError:  # whose message names the buffer
            raise ValueError("its format is not known") from None
        side = min(image.size) * self.size / (self.short_side or self.size)
        left, top = ((extent - side) / 2 for extent in image.size)
        if image.size != (self.size, self.size) or side != self.size:
            box = (left, top, left + side, top + side)
            image = image.resize((self.size, self.size), Image.Resampling.BILINEAR, box)
        flat = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
        return flat.view(self.size, self.size, self.channels).permute(2, 0, 1)


class ImageFiles:
    """Images that are read and decoded each time they are needed, by row: for sets too large for a cache."""

    def __init__(self, tree: FileTree, names: Sequence[str], decoder: Decoder) -> None:
        self.tree, self.names, self.decoder = tree, names, decoder

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Decodes rows, int64 ``(n,)``, into uint8 ``(n, C, H, W)``."""
        return torch.stack([self._decode(self.names[row]) for row in rows.tolist()])

    def _decode(self, name: str) -> Tensor:
        try:
            return self.decoder(self.tree.read(name))
        except Exception as error:  # damaged data may raise anything
            raise ImageError(f"{self.tree.path / name} is no readable image ({error}); remove it") from error
