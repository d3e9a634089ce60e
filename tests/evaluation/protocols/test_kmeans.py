"""K-means against scikit-learn, against the slow formula, where the answer is known, and on any number of processes."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans as Reference
from torch import Tensor

from ssl_bench.errors import UserError
from ssl_bench.evaluation.protocols.kmeans import KMeans, assign_clusters, lloyd, seed_centres
from ssl_bench.evaluation.rows import Rows
from ssl_bench.evaluation.task import Task
from tests.evaluation.conftest import gaussians, rows, task
from tests.ranks import Ranks

FIGURES = ("accuracy", "nmi", "ari", "purity")
EUCLIDEAN = KMeans(distances=("euclidean",))


def same(x: Tensor) -> Tensor:
    return x


def alone(x: Tensor, y: Tensor, classes: int) -> Task:
    return task((x[:1], y[:1]), (x[:1], y[:1]), (x, y), classes)


def blobs(n: int, classes: int = 4, dim: int = 8) -> tuple[Tensor, Tensor]:
    """Classes far apart in direction and in place."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(n) % classes
    return 10 * torch.eye(dim)[y] + 0.1 * torch.randn(n, dim, generator=generator), y


def overlapping_blocks() -> Rows:
    """4 classes in 3 blocks; no point lies so near to two centres that rounding decides, which takes few dimensions."""
    x, y = gaussians(2500, 3, 4, spread=1.0)
    found = rows((x - x.mean(0)) / x.std(0), y)
    assert [part.stop - part.start for part in found.slices()] == [1024, 1024, 452]
    return found


def inertia(x: Tensor, centres: Tensor) -> Tensor:
    return assign_clusters(x, centres)[0].double().sum(0)


def test_separated_blobs_are_found() -> None:
    figures = KMeans(distances=("spherical", "euclidean"))(alone(*blobs(300), 4))[0]
    for name in ("kmeans", "kmeans_euclidean"):
        assert {figure: figures[f"{name}_best/{figure}"] for figure in FIGURES} == pytest.approx(
            dict.fromkeys(FIGURES, 100.0)
        )
        assert figures[f"{name}/accuracy"] > 95


def test_inertia_is_as_low_as_scikit_learns(digits: Task) -> None:
    figures = EUCLIDEAN(digits)[0]
    reference = Reference(10, n_init=20, random_state=0).fit(digits.test.features.numpy())
    assert figures["kmeans_euclidean_best/inertia"] <= 1.0001 * reference.inertia_


def test_iterations_from_the_same_centres_are_scikit_learns() -> None:
    given = overlapping_blocks()
    x = given.features
    start = x[:12].view(3, 4, -1)
    found = lloyd(given, same, start, unit=False, max_iter=300, tol=0)
    for one, centres in zip(start, found, strict=True):
        reference = Reference(4, init=one.numpy(), n_init=1, tol=0).fit(x.numpy())
        torch.testing.assert_close(centres, torch.from_numpy(reference.cluster_centers_), rtol=1e-5, atol=1e-5)


def test_one_spherical_step_is_the_slow_formula() -> None:
    given = overlapping_blocks()
    x = F.normalize(given.features)
    start = x[:20].view(2, 10, -1)
    found = lloyd(given, F.normalize, start, unit=True, max_iter=1, tol=0)
    for before, after in zip(start, found, strict=True):
        cosine = torch.nn.CosineSimilarity(-1)(x[:, None], before[None])
        for k in range(10):
            assert torch.allclose(after[k], F.normalize(x[cosine.argmax(1) == k].sum(0), dim=0), atol=1e-5)


def test_spherical_figures_do_not_depend_on_the_lengths_of_features(digits: Task) -> None:
    longer = digits.test.features * torch.linspace(0.5, 2, len(digits.test))[:, None]
    found = KMeans()(alone(longer, digits.test.y, 10))[0]
    assert found == pytest.approx(KMeans()(alone(digits.test.features, digits.test.y, 10))[0], rel=1e-3)


def test_euclidean_figures_do_not_depend_on_where_the_origin_is(digits: Task) -> None:
    moved = digits.test.features + 1000
    found = EUCLIDEAN(alone(moved, digits.test.y, 10))[0]
    assert found == pytest.approx(EUCLIDEAN(digits)[0], rel=1e-3)


def test_seeding_is_better_than_random_rows(digits: Task) -> None:
    x = digits.test.features
    seeded = seed_centres(digits.test, same, 10, 20, seed=0)
    random = x[torch.randint(len(x), (20, 10), generator=torch.Generator().manual_seed(0))]
    assert inertia(x, seeded).mean() < 0.95 * inertia(x, random).mean()


def test_seeding_takes_one_row_of_each_distinct_point() -> None:
    x = torch.eye(6).repeat(500, 1)
    given = rows(x, torch.zeros(3000, dtype=torch.int64))
    assert len(given.slices()) == 3
    centres = seed_centres(given, same, 6, 5, seed=0)
    assert torch.equal(centres.sum(1), torch.ones(5, 6))
    assert (inertia(x, centres) == 0).all()


def test_an_empty_cluster_goes_on_from_the_farthest_point() -> None:
    x = torch.tensor([[0.0], [1.0], [2.0], [50.0]])
    start = torch.tensor([[[1.0], [-1000.0]], [[0.0], [2.0]]])
    first, second = lloyd(rows(x, torch.zeros(4, dtype=torch.int64)), same, start, unit=False, max_iter=9, tol=0)
    assert first.flatten().tolist() == [1, 50]
    assert second.flatten().tolist() == [1, 50]


def test_restarts_do_not_depend_on_one_another() -> None:
    given = overlapping_blocks()
    start = given.features[:16].view(4, 4, -1)
    together = lloyd(given, same, start, unit=False, max_iter=300, tol=1e-4)
    one_by_one = [lloyd(given, same, one[None], unit=False, max_iter=300, tol=1e-4) for one in start]
    torch.testing.assert_close(together, torch.cat(one_by_one))


def test_mean_and_deviation_are_over_restarts_and_best_is_the_lowest_inertia() -> None:
    test = alone(*gaussians(400, 5, 4, spread=1.0), 4)
    few = [KMeans(restarts=1, seed=seed)(test)[0]["kmeans_best/inertia"] for seed in range(10)]
    found = KMeans(restarts=10)(test)[0]
    assert found["kmeans_best/inertia"] <= sorted(few)[5]
    assert found["kmeans_sd/accuracy"] >= 0
    single = KMeans(restarts=1)(test)[0]
    assert single["kmeans_sd/nmi"] == 0
    assert single["kmeans/nmi"] == single["kmeans_best/nmi"]


def test_targets_share_the_clustering_and_are_scored_each_by_its_labels() -> None:
    x, y = blobs(200)
    first, second = KMeans()(alone(x, torch.stack([y, y.roll(50) // 2], 1), 4))
    assert second != first
    assert second == pytest.approx(KMeans()(alone(x, y.roll(50) // 2, 4))[0])
    assert first == pytest.approx(KMeans()(alone(x, y, 4))[0])


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.randn(3, 5), "3 test images for 4 clusters"),
        (torch.eye(3).repeat(9, 1), "fewer than 4 of 27 features differ"),
        (torch.ones(9, 3), "fewer than 4 of 9 features differ"),
        (torch.cat([torch.randn(9, 3), torch.zeros(2, 3)]), "2 of 11 test features are zero"),
    ],
)
def test_what_cannot_be_clustered_is_refused(x: Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        KMeans()(alone(x, torch.arange(len(x)) % 4, 4))


def test_a_zero_feature_is_a_point_like_others_in_euclidean() -> None:
    x, y = blobs(40)
    assert EUCLIDEAN(alone(torch.cat([x, torch.zeros(1, 8)]), torch.cat([y, y[:1]]), 4))[0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: KMeans(restarts=0),
        lambda: KMeans(distances=()),
        lambda: KMeans(max_iter=0),
        lambda: KMeans(tol=-1.0),
    ],
)
def test_settings_that_mean_nothing_are_refused(make: Callable[[], KMeans]) -> None:
    with pytest.raises(UserError, match="kmeans"):
        make()


def given(n: int) -> Task:
    x, y = gaussians(n, 10, 3, spread=1.0)
    return alone(x - 3, torch.stack([y, 2 - y], 1), 3)


def both(n: int) -> list[dict[str, float]]:
    return KMeans(distances=("spherical", "euclidean"), restarts=3)(given(n))


def line() -> Rows:
    """0 to 4,999 in 5 blocks, the largest in the third and the next in the first."""
    x = (torch.arange(5000.0) * 2601 % 5000)[:, None]
    return rows(x, torch.zeros(5000, dtype=torch.int64))


def emptied() -> Tensor:
    start = torch.tensor([[[0.0], [-1e4], [-2e4]]])
    return lloyd(line(), same, start, unit=False, max_iter=1, tol=0)


@pytest.mark.parametrize(("n", "blocks"), [(200, 1), (2500, 3), (4700, 5)])
def test_figures_are_the_same_on_any_number_of_processes(ranks: Ranks, n: int, blocks: int) -> None:
    # Of 4 ranks three or one have no block, or one has two.
    assert len(given(n).test.slices()) == blocks
    expected = both(n)
    for size in (2, 3, 4):
        for found in ranks(both, n, size=size):
            for one, other in zip(found, expected, strict=True):
                assert one == pytest.approx(other, rel=1e-9)


def test_an_empty_cluster_moves_alike_on_any_number_of_processes(ranks: Ranks) -> None:
    far = line().features.flatten().argsort(descending=True)[:2]
    assert len(line().slices()) == 5
    assert (far // 1024).tolist() == [2, 0], "the farthest points are in blocks of different ranks"
    for size in (2, 4):
        for found in ranks(emptied, size=size):
            assert torch.equal(found, emptied())
    assert emptied().flatten().tolist() == [2499.5, 4999, 4998]
