"""Regularisations are chosen as if all classifiers of the grid were solved exactly."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ssl_bench.evaluation.model_selection import accuracy, class_counts
from ssl_bench.evaluation.protocols import linear_probe, svm
from ssl_bench.evaluation.protocols.linear_probe import LinearProbe
from ssl_bench.evaluation.protocols.svm import SVM
from ssl_bench.evaluation.task import LabelledProtocol, Task
from tests.evaluation.conftest import task

STRONGEST_FIRST = {"linear_probe/l2": (1e-3, 1e-4, 1e-5, 1e-6), "svm/c": (1e-4, 1e-2, 1.0)}
PROTOCOLS: dict[str, tuple[LabelledProtocol, Callable[..., Tensor]]] = {
    "linear_probe/l2": (LinearProbe(l2=STRONGEST_FIRST["linear_probe/l2"]), linear_probe.fit),
    "svm/c": (SVM(c=STRONGEST_FIRST["svm/c"]), svm.fit),
}


def small(seed: int) -> Task:
    """60 images of 30 features for train and 30 for validation, in 3 classes that overlap."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(3, (100,), generator=generator)
    x = torch.randn(3, 30, generator=generator)[y] + 2.0 * torch.randn(100, 30, generator=generator)
    sizes = [60, 30, 10]
    first, second, third = zip(x.split(sizes), y.split(sizes), strict=True)
    return task(first, second, third, 3)


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("seed", [0, 1, 2, 3, 8, 23])
def test_the_choice_is_that_of_exact_solutions(name: str, seed: int) -> None:
    protocol, fit = PROTOCOLS[name]
    of, grid = small(seed), STRONGEST_FIRST[name]
    regularisation = torch.tensor(grid, dtype=torch.float64)[:, None]
    weights = fit(of, (of.train,), regularisation, tolerance=1e-12, max_iter=5000)
    exact = accuracy(of, of.validation, weights, class_counts((of.train,), 3) > 0)[:, 0]
    assert protocol(of)[0][name] == grid[int(exact.argmax())]
