"""CIFAR-10 and CIFAR-100 from their original Python pickles."""

import pickle
from pathlib import Path
from typing import Any, ClassVar

import torch

from ssl_bench.data.contents import DatasetContents
from ssl_bench.data.locate import find_or_download
from ssl_bench.data.module import DataModule
from ssl_bench.data.types import Target
from ssl_bench.errors import UserError


class _Unpickler(pickle.Unpickler):
    """Load numpy arrays and containers only: other classes in a pickle could run arbitrary code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module.split(".")[0], name) in {
            ("numpy", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        }:
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise pickle.UnpicklingError(f"it contains {module}.{name}, which no CIFAR file needs")


def read_pickle(path: Path) -> dict[str, Any]:
    """Read one file of CIFAR.

    Raises:
        UserError: the file is damaged or has another content.
    """
    try:
        with path.open("rb") as file:
            content = _Unpickler(file, encoding="latin1").load()
    except Exception as error:  # a damaged pickle may raise anything
        raise UserError(f"{path} is damaged ({error}); delete it and download it again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a CIFAR file: expected a dictionary, found {type(content).__name__}")
    return content


class CIFAR10(DataModule):
    """60,000 photographs of 32x32 pixels in 10 classes (Krizhevsky 2009); 50,000 for training, 10,000 for test."""

    name = "cifar10"
    image_shape = (3, 32, 32)
    mean = (0.4914, 0.4822, 0.4465)
    std = (0.2470, 0.2435, 0.2616)
    licence = "none stated; for research, cite Krizhevsky 2009"
    torchvision_name: ClassVar[str] = "CIFAR10"
    folder: ClassVar[str] = "cifar-10-batches-py"
    train_files: ClassVar[tuple[str, ...]] = tuple(f"data_batch_{i}" for i in range(1, 6))
    test_files: ClassVar[tuple[str, ...]] = ("test_batch",)
    meta_file: ClassVar[str] = "batches.meta"
    label_key: ClassVar[str] = "labels"
    class_key: ClassVar[str] = "label_names"

    def read(self) -> DatasetContents:
        """Read the pickles from ``<root>/<folder>``, or download them."""
        names = [(name,) for name in (*self.train_files, *self.test_files, self.meta_file)]
        paths = find_or_download(self.name, [self.root / self.folder], names, self.root, self._download)
        parts = [read_pickle(path) for path in paths]
        images, labels = [], []
        for path, part in zip(paths[:-1], parts[:-1], strict=True):
            try:
                images.append(torch.as_tensor(part["data"], dtype=torch.uint8).view(-1, *self.image_shape))
                labels.append(torch.tensor(part[self.label_key], dtype=torch.int64))
            except (KeyError, RuntimeError, TypeError, ValueError) as error:
                raise UserError(f"{path} is not a file of {self.name} ({error}); download it again") from error
            if len(images[-1]) != len(labels[-1]):
                raise UserError(f"{path} has {len(images[-1])} images but {len(labels[-1])} labels")
        train = sum(len(part) for part in labels[: len(self.train_files)])
        total = sum(map(len, labels))
        return DatasetContents(
            images=torch.cat(images),
            labels=torch.cat(labels),
            targets=(Target("object", tuple(parts[-1].get(self.class_key, ()))),),
            train=torch.arange(train),
            test=torch.arange(train, total),
        )

    def _download(self, root: Path) -> None:
        from torchvision import datasets

        getattr(datasets, self.torchvision_name)(str(root), download=True)


class CIFAR100(CIFAR10):
    """60,000 photographs of 32x32 pixels in 100 classes (Krizhevsky 2009); 50,000 for training, 10,000 for test."""

    name = "cifar100"
    mean = (0.5071, 0.4865, 0.4409)
    std = (0.2673, 0.2564, 0.2762)
    torchvision_name = "CIFAR100"
    folder = "cifar-100-python"
    train_files = ("train",)
    test_files = ("test",)
    meta_file = "meta"
    label_key = "fine_labels"
    class_key = "fine_label_names"
