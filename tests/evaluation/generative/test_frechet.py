"""Distances of feature sets against closed forms, scipy and torchmetrics."""

import math

import numpy
import pytest
import scipy.linalg
import torch
from torch import Tensor

from ssl_bench.evaluation.generative.frechet import Statistics, Sums, frechet_distance, inception_score, kernel_distance


def features(n: int, dim: int, seed: int, shift: float = 0.0) -> Tensor:
    """Correlated, positive and not centred, as a network's last features are."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dim, dim, generator=torch.Generator().manual_seed(9)) / dim**0.5
    x: Tensor = torch.randn(n, dim, generator=generator) @ mixing
    return (x + 0.5 + shift).relu()


def statistics(x: Tensor, block: int = 64) -> Statistics:
    sums = Sums(x.shape[1], x.device)
    for part in x.split(block):
        sums.add(part)
    return sums.statistics()


def their_kernel_distance(x: Tensor, y: Tensor) -> float:
    from torchmetrics.image.kid import poly_mmd  # here, as it imports for seconds

    return float(poly_mmd(x.double(), y.double()))


def by_sqrtm(a: Statistics, b: Statistics) -> float:
    root = numpy.trace(scipy.linalg.sqrtm(a.covariance.numpy() @ b.covariance.numpy()).real)
    return float((a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace()) - 2 * float(root)


def test_statistics_agree_with_numpy() -> None:
    x = features(1000, 20, 0)
    number, mean, covariance = statistics(x)
    assert number == 1000
    torch.testing.assert_close(mean, x.double().mean(0))
    torch.testing.assert_close(covariance, torch.from_numpy(numpy.cov(x.double().numpy(), rowvar=False)))


def test_distance_of_gaussians_whose_covariances_commute() -> None:
    a, b = torch.tensor([1.0, 4.0, 9.0]).double(), torch.tensor([4.0, 4.0, 1.0]).double()
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    one = Statistics(10, torch.zeros(3).double(), turn @ a.diag() @ turn.T)
    other = Statistics(10, torch.tensor([0.0, 3.0, 4.0]).double(), turn @ b.diag() @ turn.T)
    assert frechet_distance(one, other) == pytest.approx(25 + 1 + 0 + 4)  # |m - m'|^2 and (1 - 2)^2, 0, (3 - 1)^2


@pytest.mark.parametrize("n", [400, 30], ids=["regular", "fewer images than dimensions"])
def test_distance_agrees_with_scipy(n: int) -> None:
    a, b = statistics(features(n, 64, 0)), statistics(features(500, 64, 1, shift=0.3))
    assert frechet_distance(a, b) == pytest.approx(by_sqrtm(a, b), rel=1e-6)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b), rel=1e-9)


@pytest.mark.parametrize("n", [400, 30], ids=["regular", "fewer images than dimensions"])
def test_the_distance_of_a_set_to_itself_is_zero(n: int) -> None:
    a = statistics(features(n, 64, 0))
    assert abs(frechet_distance(a, a)) < 1e-9 * float(a.covariance.trace())


def test_constant_features_have_a_distance() -> None:
    x, y = features(400, 16, 0), features(400, 16, 1, shift=0.3)
    x[:, 3], y[:, 3] = 1, 3
    without = [column for column in range(16) if column != 3]
    expected = frechet_distance(statistics(x[:, without]), statistics(y[:, without])) + 4
    assert frechet_distance(statistics(x), statistics(y)) == pytest.approx(expected, rel=1e-9)


def test_kernel_distance_of_whole_sets_agrees_with_torchmetrics() -> None:
    x, y = features(200, 32, 0), features(200, 32, 1, shift=0.3)
    mean, deviation = kernel_distance(x, y, subsets=3, size=1000)
    assert mean == pytest.approx(their_kernel_distance(x, y), rel=1e-5)
    assert deviation == pytest.approx(0, abs=1e-6)  # three times the whole sets


def test_kernel_distance_averages_random_subsets() -> None:
    x, y = features(600, 32, 0), features(500, 32, 1, shift=0.3)
    mean, deviation = kernel_distance(x, y, subsets=50, size=100)
    generator = torch.Generator().manual_seed(5)
    theirs = torch.tensor(
        [
            their_kernel_distance(*(side[torch.randperm(len(side), generator=generator)[:100]] for side in (x, y)))
            for _ in range(50)
        ]
    )
    assert mean == pytest.approx(float(theirs.mean()), abs=4 * float(theirs.std()) / 50**0.5)
    assert deviation == pytest.approx(float(theirs.std()), rel=0.4)


def test_kernel_distance_is_without_bias() -> None:
    mean, deviation = kernel_distance(features(1000, 32, 0), features(1000, 32, 1), subsets=100, size=100)
    assert abs(mean) < deviation / 3  # alike sets: 0 within its error, where the biased estimate is far above
    assert mean != 0


def test_inception_score_of_certain_and_balanced_predictions_is_the_number_of_classes() -> None:
    logits = 1000 * torch.eye(5).repeat(20, 1)
    assert inception_score(logits) == pytest.approx((5, 0), abs=1e-4)


def test_inception_score_of_predictions_that_are_all_alike_is_1() -> None:
    assert inception_score(torch.randn(1, 7).expand(50, 7)) == pytest.approx((1, 0))


def test_inception_score_is_its_formula_on_each_part() -> None:
    logits = 3 * torch.randn(105, 7, generator=torch.Generator().manual_seed(0))
    scores = []
    for part in numpy.array_split(logits.double().softmax(1).numpy(), 10):
        marginal = part.mean(0)
        entropies = [sum(p * math.log(p / q) for p, q in zip(row, marginal, strict=True)) for row in part]
        scores.append(math.exp(sum(entropies) / len(entropies)))
    assert inception_score(logits) == pytest.approx((numpy.mean(scores), numpy.std(scores)))
