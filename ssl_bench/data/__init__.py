"""Data sets, one LightningDataModule each, and batched random views of them.

Classes are imported on first use, so that ``import ssl_bench.data.views`` does not import Lightning.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssl_bench.data.celeba import CelebA as CelebA
    from ssl_bench.data.cifar import CIFAR10 as CIFAR10
    from ssl_bench.data.cifar import CIFAR100 as CIFAR100
    from ssl_bench.data.contents import ImageSet as ImageSet
    from ssl_bench.data.digits import Digits as Digits
    from ssl_bench.data.folder import ImageFolder as ImageFolder
    from ssl_bench.data.generated import Generated as Generated
    from ssl_bench.data.imagenet import ImageNet as ImageNet
    from ssl_bench.data.imagenet import ImageNet10 as ImageNet10
    from ssl_bench.data.imagenet import ImageNet100 as ImageNet100
    from ssl_bench.data.mnist import MNIST as MNIST
    from ssl_bench.data.mnist import FashionMNIST as FashionMNIST
    from ssl_bench.data.module import DataModule as DataModule
    from ssl_bench.data.parquet import Parquet as Parquet
    from ssl_bench.data.spiral import DoubleSpiral as DoubleSpiral
    from ssl_bench.data.tiny_imagenet import TinyImageNet as TinyImageNet

_MODULES = {
    "CIFAR10": "cifar",
    "CIFAR100": "cifar",
    "CelebA": "celeba",
    "DataModule": "module",
    "Digits": "digits",
    "DoubleSpiral": "spiral",
    "FashionMNIST": "mnist",
    "Generated": "generated",
    "ImageFolder": "folder",
    "ImageNet": "imagenet",
    "ImageNet10": "imagenet",
    "ImageNet100": "imagenet",
    "ImageSet": "contents",
    "MNIST": "mnist",
    "Parquet": "parquet",
    "TinyImageNet": "tiny_imagenet",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_MODULES)
