"""K-means metrics against scikit-learn, where the answer is known, and on any number of processes."""

import pytest
import torch
from sklearn.cluster import KMeans as Reference
from torch import Tensor

from ssl_bench.errors import UserError
from ssl_bench.evaluation.points import unit_vectors
from ssl_bench.evaluation.protocols.kmeans import KMeans
from ssl_bench.evaluation.task import Task
from tests.evaluation.conftest import gaussians, task
from tests.ranks import Ranks

METRICS = ("accuracy", "nmi", "ari", "purity")
EUCLIDEAN = KMeans(distances=("euclidean",))


def alone(x: Tensor, y: Tensor, classes: int) -> Task:
    return task((x[:1], y[:1]), (x[:1], y[:1]), (x, y), classes)


def blobs(n: int, classes: int = 4, dim: int = 8) -> tuple[Tensor, Tensor]:
    """Classes far apart in direction and in place."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(n) % classes
    return 10 * torch.eye(dim)[y] + 0.1 * torch.randn(n, dim, generator=generator), y


def test_separated_blobs_are_found() -> None:
    metrics = KMeans(distances=("spherical", "euclidean"))(alone(*blobs(300), 4))[0]
    for name in ("kmeans", "kmeans_euclidean"):
        assert {metric: metrics[f"{name}_best/{metric}"] for metric in METRICS} == pytest.approx(
            dict.fromkeys(METRICS, 100.0)
        )
        assert metrics[f"{name}/accuracy"] > 95


def test_inertia_is_as_low_as_that_of_scikit_learn(digits: Task) -> None:
    metrics = EUCLIDEAN(digits)[0]
    reference = Reference(10, n_init=20, random_state=0).fit(digits.test.features.numpy())
    assert metrics["kmeans_euclidean_best/inertia"] <= 1.0001 * reference.inertia_


def test_spherical_metrics_do_not_depend_on_the_lengths_of_features(digits: Task) -> None:
    longer = digits.test.features * torch.linspace(0.5, 2, len(digits.test))[:, None]
    found = KMeans()(alone(longer, digits.test.y, 10))[0]
    assert found == pytest.approx(KMeans()(alone(digits.test.features, digits.test.y, 10))[0], rel=1e-3)


def test_euclidean_metrics_do_not_depend_on_where_the_origin_is(digits: Task) -> None:
    moved = digits.test.features + 1000
    found = EUCLIDEAN(alone(moved, digits.test.y, 10))[0]
    assert found == pytest.approx(EUCLIDEAN(digits)[0], rel=1e-3)


@pytest.mark.parametrize("offset", [0, 1e3, 1e5])
@pytest.mark.parametrize("scale", [1e-30, 1, 1e30])
@pytest.mark.parametrize("distance", ["spherical", "euclidean"])
def test_clusters_are_those_in_float64_at_any_place_and_scale(distance: str, offset: float, scale: float) -> None:
    x, y = blobs(300)
    x = (scale * (x.double() + offset)).float()
    metrics = KMeans(distances=(distance,))(alone(x, y, 4))[0]  # type: ignore[arg-type]
    z = unit_vectors(x) if distance == "spherical" else x.double()
    z -= z.mean(0)
    size = float(z.std())  # scikit-learn takes 1e-30 for 0
    reference = Reference(4, n_init=20, random_state=0).fit((z / size).numpy())
    name = "kmeans" if distance == "spherical" else "kmeans_euclidean"
    assert metrics[f"{name}_best/inertia"] == pytest.approx(reference.inertia_ * size**2, rel=1e-3)
    assert metrics[f"{name}_best/accuracy"] == 100


def test_clusters_within_groups_far_apart_are_found() -> None:
    x, y = blobs(300)
    metrics = EUCLIDEAN(alone(x + 1e6 * (y % 2).unsqueeze(1), y, 4))[0]
    assert metrics["kmeans_euclidean_best/accuracy"] == 100


def test_mean_and_deviation_are_over_restarts_and_best_is_the_lowest_inertia() -> None:
    test = alone(*gaussians(400, 5, 4, spread=1.0), 4)
    few = [KMeans(restarts=1, seed=seed)(test)[0]["kmeans_best/inertia"] for seed in range(10)]
    found = KMeans(restarts=10)(test)[0]
    assert found["kmeans_best/inertia"] <= sorted(few)[5]
    assert found["kmeans_sd/accuracy"] >= 0
    single = KMeans(restarts=1)(test)[0]
    assert single["kmeans_sd/nmi"] == 0
    assert single["kmeans/nmi"] == single["kmeans_best/nmi"]


def test_targets_share_the_clustering_and_are_scored_by_their_labels() -> None:
    x, y = blobs(200)
    first, second = KMeans()(alone(x, torch.stack([y, y.roll(50) // 2], 1), 4))
    assert second != first
    assert second == pytest.approx(KMeans()(alone(x, y.roll(50) // 2, 4))[0])
    assert first == pytest.approx(KMeans()(alone(x, y, 4))[0])


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.randn(3, 5), "3 test images for 4 clusters"),
        (torch.eye(3).repeat(9, 1), "^kmeans: fewer than 4 of 27 features differ by more"),
        (torch.ones(9, 3), "fewer than 4 of 9 features differ"),
        (torch.cat([torch.randn(9, 3), torch.zeros(2, 3)]), "2 of 11 test features are zero"),
    ],
)
def test_features_that_cannot_be_clustered_are_refused(x: Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        KMeans()(alone(x, torch.arange(len(x)) % 4, 4))


def test_a_zero_feature_is_allowed_with_euclidean_distance() -> None:
    x, y = blobs(40)
    assert EUCLIDEAN(alone(torch.cat([x, torch.zeros(1, 8)]), torch.cat([y, y[:1]]), 4))[0]


def test_an_empty_choice_of_distances_is_refused() -> None:
    with pytest.raises(UserError, match="kmeans: distances must be one or both of"):
        KMeans(distances=())


def given(n: int) -> Task:
    x, y = gaussians(n, 10, 3, spread=1.0)
    return alone(x - 3, torch.stack([y, 2 - y], 1), 3)


def both(n: int) -> list[dict[str, float]]:
    return KMeans(distances=("spherical", "euclidean"), restarts=3)(given(n))


@pytest.mark.parametrize(("n", "blocks"), [(200, 1), (2500, 3), (4700, 5)])
def test_metrics_are_the_same_on_any_number_of_processes(ranks: Ranks, n: int, blocks: int) -> None:
    # Of 4 ranks three or one have no block, or one has two.
    assert len(given(n).test.slices()) == blocks
    expected = both(n)
    for size in (2, 3, 4):
        for found in ranks(both, n, size=size):
            for one, other in zip(found, expected, strict=True):
                assert one == pytest.approx(other, rel=1e-9)
