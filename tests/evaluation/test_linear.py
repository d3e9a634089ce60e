"""The solver of linear probe and SVM over blocks of rows, on any number of processes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ssl_bench.evaluation.protocols import linear_probe, svm
from ssl_bench.evaluation.protocols.linear_probe import LinearProbe
from ssl_bench.evaluation.protocols.svm import SVM
from ssl_bench.evaluation.task import LabelledProtocol, Task
from tests.evaluation.conftest import gaussians, task
from tests.ranks import Ranks

PROTOCOLS: dict[str, tuple[LabelledProtocol, Callable[..., Tensor], float]] = {
    "linear_probe": (LinearProbe(), linear_probe.fit, 1e-3),
    "svm": (SVM(), svm.fit, 1e-2),
}


def given(train: int) -> Task:
    x, y = gaussians(train + 1300, 12, 4, spread=2.0)
    y = torch.stack([y, 3 - y, y // 2], 1)
    first, second = slice(train, train + 100), slice(train + 100, None)
    return task((x[:train], y[:train]), (x[first], y[first]), (x[second], y[second]), 4)


def metrics_and_weights(name: str, train: int) -> tuple[list[dict[str, float]], Tensor]:
    protocol, fit, regularisation = PROTOCOLS[name]
    of = given(train)
    return protocol(of), fit(of, of.fitting, torch.full((1, 3), regularisation, dtype=torch.float64))


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize(("size", "train", "blocks"), [(2, 4700, 5), (3, 200, 1), (4, 2500, 3), (4, 4700, 5)])
def test_weights_are_bit_equal_on_any_number_of_ranks(
    name: str, size: int, train: int, blocks: int, ranks: Ranks
) -> None:
    # Some ranks have no block of the train split, or one has more than the others; validation has one block.
    assert [len(part.slices()) for part in (given(train).train, given(train).test)] == [blocks, 2]
    ((expected, weights),) = ranks(metrics_and_weights, name, train, size=1)
    for found, same in ranks(metrics_and_weights, name, train, size=size):
        assert found == expected
        assert torch.equal(same, weights)
