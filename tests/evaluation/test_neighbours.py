"""Neighbours and k-means of features of any place and scale, against scikit-learn in float64."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from ssl_bench.evaluation.features import FeatureSplit
from ssl_bench.evaluation.neighbours import Distance, search
from ssl_bench.evaluation.points import unit_vectors
from ssl_bench.evaluation.protocols.knn import KNN
from ssl_bench.evaluation.rows import Rows
from tests.evaluation.conftest import gaussians, task

DISTANCES: tuple[Distance, ...] = ("cosine", "euclidean")
TEST, K = 150, 7
CPU = torch.device("cpu")


def classes() -> tuple[Tensor, Tensor]:
    """Overlapping classes, float64, with mean 0 and about 1 as standard deviation."""
    x, y = gaussians(700, 16, 4, spread=1.0)
    x = ((x - x.mean(0)) / x.std(0)).double()
    return x, y


def moved(x: Tensor, offset: float, scale: float) -> Tensor:
    return scale * (x + offset)


def outlier(x: Tensor, length: float) -> Tensor:
    x = x.clone()
    x[[TEST // 2, -1]] = x.new_tensor([[length], [3 * length]])
    return x


def far_column(x: Tensor) -> Tensor:
    return torch.cat([x, 1e9 * (2.0 * (torch.arange(len(x)) % 2).unsqueeze(1) - 1)], 1)


def narrow_groups(x: Tensor) -> Tensor:
    return 100 * torch.eye(16).double()[torch.arange(len(x)) % 16] + 1e-6 * x


def lengths(x: Tensor, exponent: int) -> Tensor:
    return x * torch.logspace(-exponent, exponent, len(x))[torch.randperm(len(x))].unsqueeze(1)


FEATURES: dict[str, Callable[[Tensor], Tensor]] = {
    "offset of both signs": lambda x: x + 3e4 * torch.arange(-8, 8),
    "constant column": lambda x: torch.cat([x, torch.full((len(x), 1), 3.3e5)], 1),
    "duplicates": lambda x: x[torch.arange(len(x)) % 350],
    "lengths from 1e-6 to 1e6": lambda x: lengths(x, 6),
    "lengths and offset": lambda x: lengths(x + 1000, 6),
    "two groups far apart": lambda x: x + 1e5 * (torch.arange(len(x)) % 2).unsqueeze(1),
    "outliers": lambda x: outlier(x, 1e20),
    "in float64": lambda x: x + 3e5,
    "columns of any scale": lambda x: x * torch.logspace(-20, 20, 16),
    "lengths from 1e-15 to 1e15": lambda x: lengths(x, 15),
    "an extreme outlier": lambda x: outlier(x, 1e26),
    "offset and an extreme outlier": lambda x: outlier(x + 1e4, 1e26),
    "a column of two values far apart": far_column,
    "narrow groups": narrow_groups,
    "in float64, narrow groups": narrow_groups,
    "in float64, 1e-170": lambda x: 1e-170 * x,
} | {
    f"offset {offset:g}, scale {scale:g}": partial(moved, offset=offset, scale=scale)
    for offset in (0, 10, 1e3, 1e5)
    for scale in (1e-30, 1, 1e30)
}


def exact_distances(distance: Distance, queries: Tensor, bank: Tensor) -> Tensor:
    """(Q, N) from differences in float64."""
    q, b = (unit_vectors(x) if distance == "cosine" else x.double() for x in (queries, bank))
    scale = b.abs().max()  # the squares of 1e-170 are 0
    return torch.cdist(q / scale, b / scale, compute_mode="donot_use_mm_for_euclid_dist") * scale


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("name", FEATURES)
def test_neighbours_and_accuracy_are_those_in_float64(name: str, distance: Distance) -> None:
    torch.manual_seed(0)
    x, y = classes()
    x = FEATURES[name](x)
    x = x if "in float64" in name else x.float()
    test, train, validation = x[:TEST], x[TEST:600], x[600:]
    bank = torch.cat([train, validation])
    given = task((train, y[TEST:600]), (validation, y[600:]), (test, y[:TEST]), 4)
    found = search(given.fitting, given.test, K, DISTANCES)[distance]
    every = exact_distances(distance, test, bank)
    nearest = every.topk(K, largest=False).values
    torch.testing.assert_close(every.gather(1, found.row.long()), nearest, rtol=1e-4, atol=0)
    torch.testing.assert_close(found.distance, nearest, rtol=1e-4, atol=1e-7 * float(nearest.median()))
    scale = x.double().abs().median()  # scikit-learn takes 1e-30 for 0
    if distance == "cosine":
        scale, bank, test = torch.ones(()), unit_vectors(bank), unit_vectors(test)
    reference = KNeighborsClassifier(1, algorithm="kd_tree")  # "brute" computes products, which lose digits
    reference.fit((bank.double() / scale).numpy(), y[TEST:].numpy())
    (metrics,) = KNN(k=(1,), distances=(distance,))(given)
    suffix = "" if distance == "cosine" else "_euclidean"
    score = 100 * reference.score((test.double() / scale).numpy(), y[:TEST].numpy())
    assert metrics[f"knn_1{suffix}/accuracy"] == pytest.approx(score)


@pytest.mark.parametrize("distance", DISTANCES)
def test_equal_rows_of_whole_numbers_are_in_the_order_of_the_bank(distance: Distance) -> None:
    x = torch.randint(-3, 4, (300, 5), generator=torch.Generator().manual_seed(0)).float()
    x[~x.any(1)] = 1
    bank, queries = (Rows.of(FeatureSplit(x[r], torch.zeros(len(x[r]))), CPU) for r in (slice(40, None), slice(40)))
    found = search((bank,), queries, 9, (distance,))[distance]
    every = exact_distances(distance, x[:40], x[40:])
    expected = torch.sort(every.round(decimals=9), dim=1, stable=True).indices[:, :9]
    assert torch.equal(found.row.long(), expected)


@pytest.mark.parametrize("offset", [0, 1000])
def test_a_zero_feature_has_cosine_similarity_0_to_every_row(offset: float) -> None:
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [-1.0, 0.1]]).repeat(9, 1)
    x[x.any(1)] += offset
    x[3::4] *= -1 if offset else 1
    labels = torch.zeros(len(x), dtype=torch.int64)
    bank, queries = (Rows.of(FeatureSplit(x[:n], labels[:n]), torch.device("cpu")) for n in (len(x), 3))
    found = search((bank,), queries, len(x), ("cosine",))["cosine"]
    assert found.row[2].tolist() == list(range(len(x)))
    torch.testing.assert_close(found.distance[2], torch.full((len(x),), 2**0.5).double())
    zero = (found.row[0] % 4 == 2).nonzero().flatten()
    torch.testing.assert_close(found.distance[0, zero], torch.full((9,), 2**0.5).double())


@pytest.mark.parametrize("offset", [0, 300])
def test_exponential_votes_use_the_cosine_similarity_of_features_far_from_zero(offset: float) -> None:
    x, y = classes()
    x = (x + offset).float()
    given = task((x[TEST:600], y[TEST:600]), (x[600:], y[600:]), (x[:TEST], y[:TEST]), 4)
    similarity = 1 - exact_distances("cosine", x[:TEST], x[TEST:]).square() / 2
    near, index = similarity.topk(50)
    temperature = float(near.std(1).mean())
    votes = torch.zeros(TEST, 4, dtype=torch.float64)
    votes.scatter_add_(1, y[TEST:][index], ((near - near[:, :1]) / temperature).exp())
    (metrics,) = KNN(k=(50,), distances=("cosine",), weights=("exponential",), temperature=temperature)(given)
    expected = 100 * float((votes.argmax(1) == y[:TEST]).double().mean())
    assert metrics["knn_50_exponential/accuracy"] == pytest.approx(expected)
