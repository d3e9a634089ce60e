import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ssl_bench.data.types import Target
from ssl_bench.errors import UserError
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.features import Features, FeatureSplit
from ssl_bench.evaluation.protocols.rank import Rank, alignment, rankme, uniformity
from ssl_bench.evaluation.task import Task
from tests.evaluation.conftest import CPU, rows
from tests.ranks import Ranks


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def unlabelled(x: Tensor) -> FeatureSplit:
    return FeatureSplit(x, torch.full((len(x),), -1))


def encoder(test: Tensor, *augmented: Tensor) -> EvaluatedEncoder:
    train, validation = unlabelled(random(4, test.shape[1])), unlabelled(random(3, test.shape[1]))

    def features(x: Tensor) -> Features:
        return Features(train, validation, unlabelled(x), (Target("label", ("a", "b")),))

    return EvaluatedEncoder(features(test), CPU, Path(), augmented=tuple(map(features, augmented)))


@pytest.mark.parametrize("data", ["digits", "overlapping"])
def test_rankme_is_that_of_the_singular_values(data: str, request: pytest.FixtureRequest) -> None:
    task: Task = request.getfixturevalue(data)
    singular = torch.linalg.svdvals(task.train.features.double())
    p = singular / singular.sum() + 1e-7
    assert rankme(task.train) == pytest.approx(math.exp(-(p * p.log()).sum()), rel=1e-6)


def test_rankme_of_fewer_images_than_features_has_as_many_singular_values_as_images() -> None:
    x = random(30, 4000) * torch.logspace(0, -4, 4000)
    singular = torch.linalg.svdvals(x.double())
    p = singular / singular.sum() + 1e-7
    assert rankme(rows(x, torch.zeros(30))) == pytest.approx(math.exp(-(p * p.log()).sum()), rel=1e-6)


def test_rankme_of_a_rotation_is_the_dimension_and_of_a_line_one() -> None:
    rotation = torch.linalg.qr(random(16, 16)).Q
    assert rankme(rows(100 * rotation, torch.zeros(16))) == pytest.approx(16, rel=1e-4)
    line = torch.outer(random(50), random(16, seed=1))
    assert rankme(rows(line, torch.zeros(50))) == pytest.approx(1, abs=1e-4)


def test_features_that_are_all_zero_have_no_rank() -> None:
    with pytest.raises(UserError, match="all 5 images are zero"):
        rankme(rows(torch.zeros(5, 3), torch.zeros(5)))


@pytest.mark.parametrize(("n", "blocks"), [(2, 1), (1024, 1), (1500, 2), (2500, 3), (4096, 4), (4200, 5)])
def test_uniformity_is_the_mean_over_all_pairs(n: int, blocks: int) -> None:
    x = 5 + random(n, 6) * torch.logspace(-1, 1, 6)
    assert len(rows(x, torch.zeros(n)).slices()) == blocks
    distances = torch.pdist(torch.nn.functional.normalize(x.double()))
    expected = distances.square().mul(-2).exp().mean().log()
    assert uniformity(rows(x, torch.zeros(n))) == pytest.approx(float(expected), rel=1e-6)


def test_uniformity_of_one_direction_is_zero_and_of_two_opposite_images_minus_eight() -> None:
    ray = torch.outer(torch.arange(1.0, 301), random(4))
    assert uniformity(rows(ray, torch.zeros(300))) == pytest.approx(0, abs=1e-6)
    assert uniformity(rows(torch.stack([ray[0], -ray[5]]), torch.zeros(2))) == pytest.approx(-8)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_uniformity_and_alignment_do_not_depend_on_the_scale(scale: float) -> None:
    x, y, labels = random(300, 6), random(300, 6, seed=1), torch.zeros(300)
    scaled = rows(scale * x, labels), rows(scale * y, labels)
    assert uniformity(scaled[0]) == pytest.approx(uniformity(rows(x, labels)), rel=1e-5)
    assert alignment(*scaled) == pytest.approx(alignment(rows(x, labels), rows(y, labels)), rel=1e-5)


@pytest.mark.parametrize("shape", [(300, 6), (6, 300)], ids=["tall", "wide"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rank_does_not_depend_on_the_scale(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    x = random(*shape).to(dtype)
    for exponent in (-100, 100) if dtype == torch.float32 else (-565, -160, 100):  # from 1e-170, whose square is 0
        assert Rank()(encoder(x * 2.0**exponent)) == pytest.approx(Rank()(encoder(x)), rel=1e-9)


def test_uniformity_of_one_image_is_refused() -> None:
    with pytest.raises(UserError, match="2 or more test images"):
        uniformity(rows(torch.ones(1, 2), torch.zeros(1)))


def test_alignment_is_zero_for_the_same_direction_and_two_for_right_angles() -> None:
    x = random(2500, 2)
    y = torch.zeros(2500)
    assert len(rows(x, y).slices()) == 3
    assert alignment(rows(x, y), rows(3 * x, y)) == pytest.approx(0, abs=1e-12)
    assert alignment(rows(x, y), rows(x.flip(1) * torch.tensor([1.0, -1.0]), y)) == pytest.approx(2)


def test_alignment_is_between_two_augmented_passes_or_one_and_the_originals() -> None:
    test, one, two = random(40, 3), random(40, 3, seed=1), random(40, 3, seed=2)
    y = torch.zeros(40)
    assert Rank()(encoder(test)).keys() == {"rank/rankme", "rank/uniformity"}
    assert Rank()(encoder(test, one))["rank/alignment"] == alignment(rows(one, y), rows(test, y))
    assert Rank()(encoder(test, one, two))["rank/alignment"] == alignment(rows(one, y), rows(two, y))


def metrics(x: Tensor, view: Tensor) -> dict[str, float]:
    return Rank()(encoder(x, view))


@pytest.mark.parametrize(("n", "blocks"), [(200, 1), (2500, 3), (4000, 4), (4700, 5)])
def test_results_are_the_same_on_any_number_of_ranks(ranks: Ranks, n: int, blocks: int) -> None:
    # Of 4 ranks three, one or none have no block, or one has two.
    x, view = random(n, 8), random(n, 8, seed=1)
    assert len(rows(x, torch.zeros(n)).slices()) == blocks
    alone = metrics(x, view)
    for size in (2, 3, 4):
        for found in ranks(metrics, x, view, size=size):
            assert found == pytest.approx(alone, rel=1e-9)
