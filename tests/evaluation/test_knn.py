import pytest
import torch
import torch.nn.functional as F
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from ssl_bench.errors import UserError
from ssl_bench.evaluation.knn import KNN, neighbours, vote
from ssl_bench.evaluation.task import Task


@pytest.mark.parametrize("data", ["digits", "overlapping"])
def test_neighbours_are_those_of_a_brute_force_search_in_float64(data: str, request: pytest.FixtureRequest) -> None:
    task: Task = request.getfixturevalue(data)
    found = neighbours(task.train_x, task.test_x, 20)
    reference = NearestNeighbors(n_neighbors=20, algorithm="brute", metric="cosine").fit(task.train_x.double().numpy())
    distances = torch.from_numpy(reference.kneighbors(task.test_x.double().numpy())[0])
    ours = 1 - F.cosine_similarity(task.test_x.double()[:, None], task.train_x.double()[found], dim=2)
    torch.testing.assert_close(ours, distances, atol=1e-6, rtol=0)


@pytest.mark.parametrize("data", ["digits", "overlapping"])
@pytest.mark.parametrize("k", [1, 5, 20])
def test_predictions_are_those_of_scikit_learn_except_where_votes_are_tied(
    data: str, k: int, request: pytest.FixtureRequest
) -> None:
    task: Task = request.getfixturevalue(data)
    labels = task.train_y[neighbours(task.train_x, task.test_x, k)]
    votes = F.one_hot(labels, task.num_classes).sum(1).topk(2).values
    clear = votes[:, 0] > votes[:, 1]
    reference = KNeighborsClassifier(k, algorithm="brute", metric="cosine")
    reference.fit(task.train_x.numpy(), task.train_y.numpy())
    expected = torch.from_numpy(reference.predict(task.test_x.numpy()))
    assert clear.double().mean() > 0.7
    assert torch.equal(vote(labels)[clear], expected[clear])


@pytest.mark.parametrize(
    ("labels", "winner"),
    [
        ([3, 1, 1], 1),  # majority
        ([2, 0], 2),  # tie: the nearer
        ([0, 1, 2, 2, 1], 1),  # tie between 1 and 2, 1 is nearer; 0 is nearest and has fewer votes
    ],
)
def test_vote(labels: list[int], winner: int) -> None:
    assert vote(torch.tensor([labels])).item() == winner


@pytest.mark.parametrize("chunk", [1, 1000, 10**9])
def test_chunks_change_nothing(digits: Task, chunk: int) -> None:
    queries = digits.test_x[:50]
    assert torch.equal(neighbours(digits.train_x, queries, 3, chunk), neighbours(digits.train_x, queries, 3))


def test_the_bank_is_train_and_validation() -> None:
    x, y = torch.eye(3), torch.arange(3)
    task = Task(x[:2], y[:2], x[2:], y[2:], x, y, 3)
    assert KNN(k=(1,))(task) == {"knn_1/accuracy": 100.0}


def test_more_neighbours_than_images_are_refused() -> None:
    with pytest.raises(UserError, match="k = 4 neighbours of a bank of 3"):
        neighbours(torch.eye(3), torch.eye(3), 4)
