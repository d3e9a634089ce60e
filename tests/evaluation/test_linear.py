"""The solver of linear probe and SVM over blocks of rows, on any number of processes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ssl_bench.evaluation import coordinates
from ssl_bench.evaluation.notes import ProtocolNote
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


def given(train: int, dim: int = 12) -> Task:
    x, y = gaussians(train + 1300, dim, 4, spread=2.0)
    y = torch.stack([y, 3 - y, y // 2], 1)
    first, second = slice(train, train + 100), slice(train + 100, None)
    return task((x[:train], y[:train]), (x[first], y[first]), (x[second], y[second]), 4)


def metrics_and_weights(name: str, train: int, dim: int) -> tuple[list[dict[str, float]], Tensor]:
    protocol, fit, regularisation = PROTOCOLS[name]
    of = given(train, dim)
    return protocol(of), fit(of, of.fitting, torch.full((1, 3), regularisation, dtype=torch.float64))


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize(
    ("size", "train", "dim", "blocks"),
    [(2, 4700, 12, 5), (3, 200, 12, 1), (4, 2500, 12, 3), (4, 4700, 12, 5), (2, 60, 200, 1)],
)
def test_weights_are_bit_equal_on_any_number_of_ranks(
    name: str, size: int, train: int, dim: int, blocks: int, ranks: Ranks
) -> None:
    # Some ranks have no block of the train split, or one has more than the others; validation has one block.
    assert [len(part.slices()) for part in (given(train).train, given(train).test)] == [blocks, 2]
    ((expected, weights),) = ranks(metrics_and_weights, name, train, dim, size=1)
    for found, same in ranks(metrics_and_weights, name, train, dim, size=size):
        assert found == expected
        assert torch.equal(same, weights)


@pytest.mark.parametrize("protocol", [LinearProbe(max_iter=3), SVM(max_iter=3)])
def test_fits_that_have_not_converged_are_noted(protocol: LabelledProtocol) -> None:
    with pytest.warns(ProtocolNote, match=r"^(svm|linear_probe): \d+ of \d+ scored fits have not converged in 3 "):
        protocol(given(60))


def few(train: int, validation: int, dim: int) -> Task:
    """Few images with many features, of which one is constant and two are equal, and an image that occurs twice."""
    x, y = gaussians(train + validation + 100, dim, 4, spread=2.0)
    x[:, 5], x[:, 7] = 3.0, x[:, 6]
    x[1] = x[0]
    y = torch.stack([y, 3 - y], 1)
    first, second, third = zip(*(part.split([train, validation, 100]) for part in (x, y)), strict=True)
    return task(first, second, third, 4)


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("part", ["train", "train and validation"])
@pytest.mark.parametrize(("train", "validation", "dim"), [(60, 15, 300), (90, 29, 120)])
def test_fewer_images_than_features_are_fitted_in_their_span_with_the_same_result(
    name: str, part: str, train: int, validation: int, dim: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, fit, _ = PROTOCOLS[name]
    weak, strong = {"linear_probe": (0.1, 1.0), "svm": (0.1, 0.01)}[name]
    strengths = torch.tensor([[weak], [strong]], dtype=torch.float64).expand(2, 2)

    def decisions() -> Tensor:
        of = few(train, validation, dim)
        splits = of.fitting if part != "train" else (of.train,)
        weights = fit(of, splits, strengths, tolerance=1e-12)
        z = (of.test.features - of.train.features.mean(0)) / of.train.features.std(0, correction=0).clamp_min(1e-6)
        z[:, 5] = 0
        outputs = z.double() @ weights[..., :-1].mT + weights[..., -1:].mT
        return outputs - outputs.mean(-1, keepdim=True)  # a constant of all intercepts has no effect

    found = decisions()
    monkeypatch.setattr(Task, "wide", False)
    torch.testing.assert_close(found, decisions(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_features_standardised_once_give_the_same_weights(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = metrics_and_weights(name, 2500, 12)
    monkeypatch.setattr(coordinates, "KEPT", 0)
    found = metrics_and_weights(name, 2500, 12)
    assert found[0] == kept[0]
    assert torch.equal(found[1], kept[1])


@pytest.mark.parametrize("name", PROTOCOLS)
def test_no_matrix_of_all_pairs_of_features_is_computed_for_few_images(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Task, "moments", lambda _: pytest.fail("d x d"))
    protocol, _, _ = PROTOCOLS[name]
    assert len(protocol(few(60, 15, 300))) == 2


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_span_of_identical_images_has_no_axis(name: str) -> None:
    x, y = torch.ones(30, 50), torch.arange(30) % 2
    (found,) = PROTOCOLS[name][0](task((x[:20], y[:20]), (x[20:], y[20:]), (x[20:], y[20:]), 2))
    assert found[f"{name}/accuracy"] == 50
