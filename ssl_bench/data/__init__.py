"""Data sets, each as one LightningDataModule, and the batched views of them.

The classes are imported when they are first named: ``import ssl_bench.data.views`` must not pay for Lightning.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssl_bench.data.cifar import CIFAR10 as CIFAR10
    from ssl_bench.data.cifar import CIFAR100 as CIFAR100
    from ssl_bench.data.digits import Digits as Digits
    from ssl_bench.data.mnist import MNIST as MNIST
    from ssl_bench.data.mnist import FashionMNIST as FashionMNIST
    from ssl_bench.data.module import DataModule as DataModule
    from ssl_bench.data.module import ImageSet as ImageSet

_HOME = {
    "CIFAR10": "cifar",
    "CIFAR100": "cifar",
    "DataModule": "module",
    "Digits": "digits",
    "FashionMNIST": "mnist",
    "ImageSet": "module",
    "MNIST": "mnist",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOME)
