import pytest
import torch
from sklearn.svm import LinearSVC
from torch import Tensor

from ssl_bench.errors import UserError
from ssl_bench.evaluation import model_selection
from ssl_bench.evaluation.protocols.svm import SVM, fit
from ssl_bench.evaluation.rows import Rows
from ssl_bench.evaluation.task import Task
from tests.evaluation.conftest import gaussians, split, task


def standardised(task: Task, *splits: Rows) -> tuple[Tensor, Tensor]:
    """Features standardised by train, computed independently of the code, and labels of the first target."""
    mean, deviation = task.train.features.double().mean(0), task.train.features.double().std(0, correction=0)
    deviation[deviation == 0] = 1
    x = torch.cat([(rows.features.double() - mean) / deviation for rows in splits])
    return x, torch.cat([rows.y[:, 0] for rows in splits])


def one(value: float) -> Tensor:
    return torch.tensor([[value]], dtype=torch.float64)


def liblinear(c: float, x: Tensor, y: Tensor) -> LinearSVC:
    return LinearSVC(C=c, dual=False, tol=1e-6, max_iter=10_000).fit(x.numpy(), y.numpy())


@pytest.mark.parametrize("data", ["digits", "overlapping"])
@pytest.mark.parametrize("c", [1e-4, 1e-2, 1.0])
def test_fit_reaches_the_optimum_of_liblinear(data: str, c: float, request: pytest.FixtureRequest) -> None:
    task: Task = request.getfixturevalue(data)
    x, y = standardised(task, *task.fitting)
    test_x, _ = standardised(task, task.test)
    weights = fit(task, task.fitting, one(c))[0, 0]
    reference = liblinear(c, x, y)

    def objectives(w: Tensor, b: Tensor) -> Tensor:
        signs = torch.where(y[:, None] == torch.arange(task.num_classes), 1.0, -1.0)
        slack = (1 - signs * (x @ w.T + b)).clamp_min(0)
        return (w.square().sum(1) + b.square()) / 2 + c * slack.square().sum(0)

    optimum = objectives(torch.from_numpy(reference.coef_), torch.from_numpy(reference.intercept_))
    torch.testing.assert_close(objectives(weights[:, :-1], weights[:, -1]), optimum, rtol=1e-5, atol=0)
    ours = (test_x @ weights[:, :-1].T + weights[:, -1]).argmax(1)
    assert (ours != torch.from_numpy(reference.predict(test_x.numpy()))).double().mean() <= 0.002


@pytest.mark.parametrize("data", ["digits", "overlapping"])
def test_the_whole_svm_agrees_with_liblinear_at_the_chosen_c(data: str, request: pytest.FixtureRequest) -> None:
    task: Task = request.getfixturevalue(data)
    (found,) = SVM()(task)
    test_x, test_y = standardised(task, task.test)
    expected = liblinear(found["svm/c"], *standardised(task, *task.fitting)).score(test_x.numpy(), test_y.numpy())
    assert found["svm/accuracy"] == pytest.approx(100 * expected, abs=0.2)


def test_two_classes_are_one_problem_as_in_liblinear() -> None:
    two = split(*gaussians(600, 5, 2, spread=2.0), 2)
    reference = liblinear(0.1, *standardised(two, two.train))
    weights = fit(two, (two.train,), one(0.1))[0, 0]
    expected = torch.from_numpy(reference.coef_[0]), torch.tensor(reference.intercept_[0])
    torch.testing.assert_close((weights[1, :-1], weights[1, -1]), expected, atol=1e-4, rtol=1e-3)
    assert torch.equal(weights[0], -weights[1])


def test_known_answer_of_two_points() -> None:
    # At -1 and 1 the best w minimises w^2 / 2 + 2 c (1 - w)^2, and b is 0.
    x, y = torch.tensor([[-1.0], [1.0]]), torch.tensor([0, 1])
    points = task((x, y), (x, y), (x, y), 2)
    weights = fit(points, (points.train,), one(0.5))[0, 0]
    torch.testing.assert_close(weights, torch.tensor([[-2 / 3, 0], [2 / 3, 0]]).double(), atol=1e-4, rtol=0)


def test_each_target_is_scored_independently(digits: Task) -> None:
    def relabelled(rows: Rows) -> Rows:
        y = rows.y[:, 0]
        return Rows(rows.features, torch.stack([y, (y + 3) // 2, y % 2], 1), rows.device)

    splits = [relabelled(rows) for rows in (digits.train, digits.validation, digits.test)]
    found = SVM(c=(1e-4, 1e-2))(Task(splits[0], splits[1], splits[2], 10))
    for target in range(3):
        train, validation, test = (Rows(rows.features, rows.y[:, [target]], rows.device) for rows in splits)
        assert SVM(c=(1e-4, 1e-2))(Task(train, validation, test, 10)) == [pytest.approx(found[target], abs=0.01)]


def test_c_is_chosen_on_validation_and_not_on_train_or_test() -> None:
    # In train the second feature is the first one's noise: a weak penalty subtracts it, and is perfect where that
    # holds and worse than a strong one, which leaves it out, where its sign is another.
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(400) % 2
    noise = torch.randn(400, generator=generator)
    train, other = (torch.stack([2 * y - 1 + noise, sign * noise], 1) for sign in (1, -1))
    for validation, test, best in ((other, train, 1e-5), (train, other, 10.0)):
        (found,) = SVM(c=(1e-5, 10.0))(task((train, y), (validation, y), (test, y), 2))
        assert found["svm/c"] == best


def test_scales_offsets_and_constants_have_no_effect(overlapping: Task) -> None:
    def changed(x: Tensor) -> Tensor:
        constant = torch.full((len(x), 1), 1234.5)
        return torch.cat([x[:, :10] * 1e-3, constant, 1e4 * x[:, 10:] + 1e6, constant * 0], 1)

    train, validation, test = (
        (changed(rows.features), rows.y) for rows in (overlapping.train, overlapping.validation, overlapping.test)
    )
    assert SVM()(task(train, validation, test, 5)) == [pytest.approx(SVM()(overlapping)[0], abs=0.2)]


def test_more_features_than_images_and_copies_of_features() -> None:
    x, y = gaussians(120, 40, 3, spread=0.3)
    copies = split(torch.cat([x, x, x[:, :5] + x[:, 5:10]], 1), y, 3)
    assert SVM()(copies)[0]["svm/accuracy"] == 100


def test_a_class_that_is_not_allowed_is_not_predicted() -> None:
    x, y = torch.tensor([[-1.0], [1.0]]), torch.tensor([0, 1])
    points = task((x, y), (x, y), (x, y), 3)
    weights = torch.tensor([[-1.0, 0], [1, 0], [0, 9]], dtype=torch.float64)[None, None]
    assert model_selection.accuracy(points, points.test, weights, torch.tensor([[True, True, False]])).item() == 100
    assert model_selection.accuracy(points, points.test, weights, torch.tensor([[True, True, True]])).item() == 0


def test_one_image_of_a_class_is_enough() -> None:
    x = torch.tensor([[-1.0, 0], [1, 0], [-1, 1], [1, 1], [0, 9]])
    y = torch.tensor([0, 1, 0, 1, 2])
    assert SVM(c=(1.0,))(task((x, y), (x, y), (x, y), 4))[0]["svm/accuracy"] == 100


def test_an_empty_grid_is_refused() -> None:
    with pytest.raises(UserError, match="svm: c must be one or more"):
        SVM(c=())
