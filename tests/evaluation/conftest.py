"""Real features that are small, and overlapping classes with a known difficulty."""

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from ssl_bench.evaluation.rows import Rows
from ssl_bench.evaluation.task import Task

CPU = torch.device("cpu")


def rows(x: Tensor, y: Tensor) -> Rows:
    """Features ``(N, d)`` with the labels ``(N,)`` of one target or ``(N, T)`` of several."""
    return Rows(x, y.reshape(len(y), -1), CPU)


def task(train: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], c: int) -> Task:
    """A task on tensors: features and labels of each split, and the number of classes."""
    return Task(rows(*train), rows(*validation), rows(*test), c)


def split(x: Tensor, y: Tensor, classes: int) -> Task:
    """60 % train, 15 % validation, 25 % test, in a fixed random order."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, validation, test = torch.tensor_split(order, (int(0.6 * len(x)), int(0.75 * len(x))))
    return task((x[train], y[train]), (x[validation], y[validation]), (x[test], y[test]), classes)


def gaussians(n: int, dim: int, classes: int, spread: float) -> tuple[Tensor, Tensor]:
    """Classes around random centres; they overlap the more the larger ``spread``. Features on uneven scales."""
    generator = torch.Generator().manual_seed(1)
    centres = torch.randn(classes, dim, generator=generator)
    y = torch.randint(classes, (n,), generator=generator)
    x = centres[y] + spread * torch.randn(n, dim, generator=generator)
    return 3 + x * torch.logspace(-2, 2, dim), y


@pytest.fixture(scope="session")
def digits() -> Task:
    x, y = load_digits(return_X_y=True)
    return split(torch.from_numpy(x).float(), torch.from_numpy(y).long(), 10)


@pytest.fixture(scope="session")
def overlapping() -> Task:
    return split(*gaussians(4000, 20, 5, spread=2.0), 5)
