"""MNIST and FashionMNIST, from idx files."""

import gzip
import zlib
from math import prod
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from ssl_bench.data.contents import DatasetContents
from ssl_bench.data.locate import find_or_download
from ssl_bench.data.module import DataModule
from ssl_bench.data.types import Target
from ssl_bench.errors import UserError

PARTS = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")


def read_idx(path: Path) -> Tensor:
    """Read one idx file of unsigned bytes, gzipped or not (format: http://yann.lecun.com/exdb/mnist).

    Returns:
        uint8 tensor with the shape stated in the file's header.

    Raises:
        UserError: the file is damaged or has another content.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is damaged ({error}); delete it and download it again") from error
    if data[:3] != b"\0\0\x08" or len(data) < 4:
        raise UserError(f"{path} is not an idx file of unsigned bytes")
    start = 4 + 4 * data[3]
    shape = [int.from_bytes(data[i : i + 4], "big") for i in range(4, start, 4)]
    if len(data) != start + prod(shape):
        expected = "x".join(map(str, shape))
        raise UserError(f"{path} contains {len(data) - start} bytes, its header states {expected}; download it again")
    return torch.frombuffer(bytearray(data), dtype=torch.uint8, offset=start).view(shape)


class MNIST(DataModule):
    """70,000 grey handwritten digits of 28x28 pixels (LeCun et al. 1998); 60,000 for training, 10,000 for test."""

    name = "mnist"
    image_shape = (1, 28, 28)
    mean = (0.1307,)
    std = (0.3081,)
    licence = "CC BY-SA 3.0"
    target = Target("digit", tuple("0123456789"))
    folder: ClassVar[str] = "MNIST"  # also the name of torchvision's class
    system: ClassVar[str | None] = None  # folder of the package of a Linux distribution

    def read(self) -> DatasetContents:
        """Read the four idx files from ``<root>/<folder>/raw`` or the distribution's folder, or download them."""
        folders = [self.root / self.folder / "raw"] + ([Path(self.system)] if self.system else [])
        names = [(f"{part}-ubyte.gz", f"{part}-ubyte") for part in PARTS]
        paths = find_or_download(self.name, folders, names, self.root, self._download)
        train, train_labels, test, test_labels = (read_idx(path) for path in paths)
        for images, labels, path in ((train, train_labels, paths[0]), (test, test_labels, paths[2])):
            if len(images) != len(labels):
                raise UserError(f"{path} has {len(images)} images but its label file {len(labels)} labels")
            if images.shape[1:] != self.image_shape[1:]:
                raise UserError(f"{path} has images of {tuple(images.shape[1:])}, expected 28x28")
        return DatasetContents(
            images=torch.cat([train, test]).unsqueeze(1),
            labels=torch.cat([train_labels, test_labels]).long(),
            targets=(self.target,),
            train=torch.arange(len(train)),
            test=torch.arange(len(train), len(train) + len(test)),
        )

    def _download(self, root: Path) -> None:
        from torchvision import datasets

        getattr(datasets, self.folder)(str(root), download=True)


class FashionMNIST(MNIST):
    """70,000 grey images of clothing, 28x28 pixels, 10 classes (Xiao et al. 2017); 60,000 training, 10,000 test."""

    name = "fashion_mnist"
    mean = (0.2860,)
    std = (0.3530,)
    licence = "MIT"
    target = Target(
        "article",
        (
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
    )
    folder = "FashionMNIST"
    system = "/usr/share/datasets/fashion-mnist"
