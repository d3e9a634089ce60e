import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression

from ssl_bench.errors import UserError
from ssl_bench.evaluation.linear_probe import LinearProbe, fit, second_moment
from ssl_bench.evaluation.task import Task, accuracy

L2 = (1e-4, 1e-2, 1.0)


@pytest.mark.parametrize("data", ["digits", "overlapping"])
@pytest.mark.parametrize("l2", L2)
def test_fit_reaches_the_optimum_of_scikit_learn(data: str, l2: float, request: pytest.FixtureRequest) -> None:
    task: Task = request.getfixturevalue(data)
    x, test_x = task.standardised()
    y = task.fitting_y()
    start = x.new_zeros(task.num_classes, x.shape[1]), x.new_zeros(task.num_classes)
    weight, intercept = fit(x, y, l2, start, second_moment(x))
    reference = LogisticRegression(C=1 / (l2 * len(x)), tol=1e-6, max_iter=10_000).fit(x.numpy(), y.numpy())

    def objective(w: torch.Tensor, b: torch.Tensor) -> float:
        value = F.cross_entropy(x.double() @ w.double().T + b.double(), y) + l2 / 2 * w.double().square().sum()
        return value.item()

    optimum = objective(torch.from_numpy(reference.coef_), torch.from_numpy(reference.intercept_))
    assert objective(weight, intercept) == pytest.approx(optimum, rel=1e-3)
    ours = accuracy(F.linear(test_x, weight, intercept).argmax(1), task.test_y)
    assert ours == pytest.approx(100 * reference.score(test_x.numpy(), task.test_y.numpy()), abs=0.2)


@pytest.mark.parametrize("data", ["digits", "overlapping"])
def test_the_whole_probe_agrees_with_scikit_learn_at_the_chosen_l2(data: str, request: pytest.FixtureRequest) -> None:
    task: Task = request.getfixturevalue(data)
    found = LinearProbe()(task)
    x, test_x = task.standardised()
    reference = LogisticRegression(C=1 / (found["linear_probe/l2"] * len(x)), tol=1e-6, max_iter=10_000)
    reference.fit(x.numpy(), task.fitting_y().numpy())
    expected = 100 * reference.score(test_x.numpy(), task.test_y.numpy())
    assert found["linear_probe/accuracy"] == pytest.approx(expected, abs=0.2)


def test_l2_is_chosen_on_validation_and_not_on_train_or_test() -> None:
    # A strong feature that only the train split has, and that points to the wrong class in test: train and test
    # both want a weak and a strong penalty on it respectively; validation decides which is used.
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(200) % 2
    sign = 2.0 * y - 1
    weak = sign + 2 * torch.randn(200, generator=generator)
    noise = torch.randn(200, 300, generator=generator)
    train = torch.cat([weak[:, None], noise], 1)  # separable by its noise: train accuracy is best unpenalised
    alike = torch.cat([3 * sign[:, None], torch.randn(200, 300, generator=generator)], 1)
    best = {}
    for name, validation, test in (("generalises", alike, train), ("train again", train, alike)):
        task = Task(train, y, validation, y, test, y, 2)
        best[name] = LinearProbe(l2=(1e-4, 10.0))(task)["linear_probe/l2"]
    assert best == {"generalises": 10.0, "train again": 1e-4}


def test_the_refit_learns_from_validation() -> None:
    # Class 2 has no example in train; only the refit can know it.
    eye = torch.eye(3)
    y = torch.arange(30) % 3
    task = Task(eye[y % 2], y % 2, eye[y], y, eye[y], y, 3)
    assert LinearProbe(l2=(1e-4,))(task)["linear_probe/accuracy"] == 100


def test_intercept_is_not_penalised() -> None:
    # With features that say nothing the optimum is the class frequencies, whatever the penalty.
    x, y = torch.zeros(100, 1), (torch.arange(100) < 20).long()
    _, intercept = fit(x, y, 100.0, (torch.zeros(2, 1), torch.zeros(2)), second_moment(x))
    torch.testing.assert_close(intercept.softmax(0), torch.tensor([0.8, 0.2]), atol=1e-3, rtol=0)


@pytest.mark.parametrize("grid", [(), (0.0, 1.0), (-1.0,)])
def test_a_grid_without_positive_penalties_is_refused(grid: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match="linear_probe: l2"):
        LinearProbe(l2=grid)
