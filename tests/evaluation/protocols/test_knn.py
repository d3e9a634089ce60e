import itertools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from ssl_bench.errors import UserError
from ssl_bench.evaluation import neighbours
from ssl_bench.evaluation.neighbours import Distance, Neighbours, exactly_largest, largest, search
from ssl_bench.evaluation.notes import ProtocolNote
from ssl_bench.evaluation.protocols.knn import KNN, vote
from ssl_bench.evaluation.task import Task
from tests.evaluation.conftest import rows, task
from tests.ranks import Ranks

DISTANCES: tuple[Distance, ...] = ("cosine", "euclidean")


def distances(distance: Distance, queries: Tensor, bank: Tensor) -> Tensor:
    """(Q, N) in float64: 1 - cosine similarity, or Euclidean."""
    q, b = queries.double(), bank.double()
    return 1 - F.normalize(q) @ F.normalize(b).T if distance == "cosine" else torch.cdist(q, b)


def bank_of(task: Task) -> tuple[Tensor, Tensor]:
    return torch.cat([part.features for part in task.fitting]), torch.cat([part.y for part in task.fitting])


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("data", ["digits", "overlapping"])
def test_neighbours_are_those_of_a_brute_force_search_in_float64(
    data: str, distance: Distance, request: pytest.FixtureRequest
) -> None:
    task: Task = request.getfixturevalue(data)
    found = search(task.fitting, task.test, 200, DISTANCES)[distance].row.long()
    every = distances(distance, task.test.features, bank_of(task)[0])
    torch.testing.assert_close(every.gather(1, found), every.topk(200, largest=False).values, atol=1e-6, rtol=1e-4)
    assert all(len(row.unique()) == 200 for row in found)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("k", [1, 5, 20, 200])
def test_predictions_are_those_of_scikit_learn_except_where_votes_are_tied(
    overlapping: Task, distance: Distance, k: int
) -> None:
    x, y = bank_of(overlapping)
    found = search(overlapping.fitting, overlapping.test, k, (distance,))[distance]
    labels = y[found.row]
    votes = F.one_hot(labels.squeeze(2), overlapping.num_classes).sum(1).topk(2).values
    clear = votes[:, 0] > votes[:, 1]
    reference = KNeighborsClassifier(k, algorithm="brute", metric=distance).fit(x.numpy(), y.flatten().numpy())
    expected = torch.from_numpy(reference.predict(overlapping.test.features.numpy()))
    assert clear.double().mean() > 0.7
    assert torch.equal(vote(labels, overlapping.num_classes).squeeze(1)[clear], expected[clear])


@pytest.mark.parametrize("k", [1, 3, 40])
@pytest.mark.parametrize("width", [40, 64, 1000, 4096])  # selected at once, and by groups of columns
@pytest.mark.parametrize("levels", [2, 50, 10**9])  # nearly all tied, some tied, none tied
def test_the_largest_of_wide_rows(k: int, width: int, levels: int) -> None:
    x = torch.randint(levels, (7, width), generator=torch.Generator().manual_seed(0)).float()
    expected = x.sort(dim=1, descending=True, stable=True)
    values, columns = largest(x, k)
    assert torch.equal(values, expected.values[:, :k])
    assert torch.equal(x.gather(1, columns), values)
    values, columns = exactly_largest(x, k)
    assert torch.equal(columns.sort(1).values, expected.indices[:, :k].sort(1).values)
    assert torch.equal(x.gather(1, columns), values)


def test_ties_between_equally_near_rows_go_to_the_first() -> None:
    x = torch.eye(3).repeat(900, 1)  # row i lies where row i - 3 does
    bank = rows(x[:2100], torch.zeros(2100)), rows(x[2100:], torch.zeros(600))
    assert [len(part.slices()) for part in bank] == [3, 1]
    found = search(bank, rows(x[:3], torch.zeros(3)), 750, DISTANCES)  # some of each block
    for distance in DISTANCES:
        assert torch.equal(found[distance].row, torch.arange(3).unsqueeze(1) + 3 * torch.arange(750))


def test_euclidean_neighbours_of_features_far_from_zero() -> None:
    x = torch.randn(600, 16, generator=torch.Generator().manual_seed(0)) + 30
    found = search((rows(x[100:], torch.zeros(500)),), rows(x[:100], torch.zeros(100)), 5, ("euclidean",))
    every = distances("euclidean", x[:100], x[100:])
    near = every.gather(1, found["euclidean"].row.long())
    torch.testing.assert_close(near, every.topk(5, largest=False).values, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("labels", "weights", "winner"),
    [
        ([3, 1, 1], None, 1),  # majority
        ([2, 0], None, 2),  # tie: the nearer
        ([0, 1, 2, 2, 1], None, 1),  # tie between 1 and 2, 1 is nearer; 0 is nearest and has fewer votes
        ([3, 1, 1], [1, 0.4, 0.4], 3),  # the nearest weighs more than the rest
        ([2, 0, 2, 0], [0.3, 0.1, 0.1, 0.3], 2),  # tie of sums that floats make unequal
    ],
)
def test_vote(labels: list[int], weights: list[float] | None, winner: int) -> None:
    given = None if weights is None else torch.tensor([weights])
    assert vote(torch.tensor(labels).view(1, -1, 1), 4, given).item() == winner


@pytest.mark.parametrize("temperature", [0.01, 0.07, 1.0])
def test_exponential_votes_are_those_of_the_formula(digits: Task, temperature: float) -> None:
    x, y = bank_of(digits)
    near, index = (1 - distances("cosine", digits.test.features, x)).topk(20)
    sums = torch.zeros(len(index), 10, dtype=torch.float64)
    sums.scatter_add_(1, y.squeeze(1)[index], (near / temperature).exp())
    expected = (sums.argmax(1) == digits.test.y.squeeze(1)).double().mean() * 100
    (metrics,) = KNN(k=(20,), distances=("cosine",), weights=("exponential",), temperature=temperature)(digits)
    assert metrics == {"knn_20_exponential/accuracy": pytest.approx(float(expected))}


def test_results_do_not_depend_on_chunks_and_tiles(digits: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    x = digits.train.features
    train = rows(torch.cat([x, 16 - x, x.flip(1)]), digits.train.y.repeat(3, 1))
    assert len(train.slices()) == 4

    def found() -> dict[Distance, Neighbours]:
        return search((train, digits.validation), digits.test, 30, DISTANCES)

    whole = found()
    for scores, tile in ((1, 2**16), (10**6, 256), (10**5, 2100)):  # tiles of all blocks, of one, of two and three
        monkeypatch.setattr(neighbours, "SCORES", {"cpu": scores})
        monkeypatch.setattr(neighbours, "TILE", tile)
        for distance, (near, row) in found().items():  # to the last bit: products of whole numbers are exact
            assert torch.equal(near, whole[distance].distance)
            assert torch.equal(row, whole[distance].row)


def test_the_bank_is_train_and_validation() -> None:
    x, y = torch.eye(3), torch.arange(3)
    metrics = KNN(k=(1,))(task((x[:2], y[:2]), (x[2:], y[2:]), (x, y), 3))
    assert metrics == [{"knn_1/accuracy": 100.0, "knn_1_euclidean/accuracy": 100.0}]


def test_cosine_and_euclidean_differ_if_lengths_differ() -> None:
    bank, y = torch.tensor([[10.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 1])
    test = torch.tensor([[1.0, 0.2]])
    metrics = KNN(k=(1,))(task((bank[:1], y[:1]), (bank[1:], y[1:]), (test, y[:1]), 2))
    assert metrics == [{"knn_1/accuracy": 100.0, "knn_1_euclidean/accuracy": 0.0}]


def test_each_target_is_scored_independently(digits: Task) -> None:
    def of(label: Callable[[Tensor], Tensor]) -> Task:
        train, validation, test = ((part.features, label(part.y)) for part in (*digits.fitting, digits.test))
        return task(train, validation, test, 2)

    odd, large = of(lambda y: y % 2), of(lambda y: y // 5)
    both = of(lambda y: torch.cat([y % 2, y // 5], 1))
    protocol = KNN(k=(1, 5), weights=("uniform", "exponential"))
    assert protocol(both) == protocol(odd) + protocol(large)


def test_default_names(digits: Task) -> None:
    (metrics,) = KNN()(digits)
    names = itertools.product((1, 5, 20, 200), ("", "_euclidean"))
    assert metrics.keys() == {f"knn_{k}{suffix}/accuracy" for k, suffix in names}
    assert metrics["knn_1/accuracy"] > 97


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": ()}, "knn: k must be one or more values"),
        ({"distances": ()}, "knn: distances must be one or more values"),
        ({"weights": ()}, "knn: weights must be one or more values"),
        ({"distances": ("euclidean",), "weights": ("exponential",)}, "add cosine"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        KNN(**settings)  # type: ignore[arg-type]


def test_a_k_larger_than_the_bank_is_left_out_with_a_note() -> None:
    x, y = torch.eye(3), torch.arange(3)
    three = task((x[:2], y[:2]), (x[2:], y[2:]), (x, y), 3)
    with pytest.warns(ProtocolNote, match="k = 4, 9 left out, because the bank has 3 labelled images"):
        (metrics,) = KNN(k=(1, 4, 3, 9), distances=("cosine",))(three)
    assert metrics.keys() == {"knn_1/accuracy", "knn_3/accuracy"}
    with pytest.raises(UserError, match="k = 4, 9 neighbours of a bank of 3 labelled images; give a k of at most 3"):
        KNN(k=(4, 9))(three)


def duplicates(offset: float) -> Task:
    """A bank of 3 + 1 blocks with every feature twice, in different blocks and classes."""
    generator = torch.Generator().manual_seed(0)
    x = offset + torch.randn(1550, 12, generator=generator).repeat(2, 1)
    y = torch.randint(4, (3100, 2), generator=generator)
    test = offset + torch.randn(70, 12, generator=generator)
    test[:20] = x[:20]  # distances of 0, which are computed in float64
    return task((x[:2500], y[:2500]), (x[2500:], y[2500:]), (test, y[:70]), 4)


def scored(offset: float) -> tuple[dict[Distance, Neighbours], list[dict[str, float]]]:
    given = duplicates(offset)
    every = KNN(k=(1, 2, 1100), weights=("uniform", "exponential"))  # 1,100 are more than a block has
    return search(given.fitting, given.test, 1100, DISTANCES), every(given)


@pytest.mark.parametrize("offset", [0, 1000])
def test_results_are_the_same_on_any_number_of_ranks(ranks: Ranks, offset: float) -> None:
    assert [len(part.slices()) for part in duplicates(offset).fitting] == [3, 1]
    ((alone, metrics),) = ranks(scored, offset, size=1)
    for size in (2, 3, 4):  # of 4, the first has no block and the last has two
        for found, others in ranks(scored, offset, size=size):
            assert others == metrics
            for distance in DISTANCES:
                assert torch.equal(found[distance].row, alone[distance].row)
                assert torch.equal(found[distance].distance, alone[distance].distance)
