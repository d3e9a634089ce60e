import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from ssl_bench.errors import UserError
from ssl_bench.evaluation import linear
from ssl_bench.evaluation.protocols.linear_probe import LinearProbe, fit
from ssl_bench.evaluation.rows import Rows
from ssl_bench.evaluation.task import Task
from tests.evaluation.conftest import gaussians, split, task

L2 = (1e-4, 1e-2, 1.0)


def standardised(task: Task, *splits: Rows) -> tuple[Tensor, Tensor]:
    """Features standardised by train, computed independently of the code, and labels of the first target."""
    mean, deviation = task.train.features.double().mean(0), task.train.features.double().std(0, correction=0)
    deviation[deviation == 0] = 1
    x = torch.cat([(rows.features.double() - mean) / deviation for rows in splits])
    return x, torch.cat([rows.y[:, 0] for rows in splits])


def one(value: float) -> Tensor:
    return torch.tensor([[value]], dtype=torch.float64)


@pytest.mark.parametrize("data", ["digits", "overlapping"])
@pytest.mark.parametrize("l2", L2)
def test_fit_reaches_the_optimum_of_scikit_learn(data: str, l2: float, request: pytest.FixtureRequest) -> None:
    task: Task = request.getfixturevalue(data)
    x, y = standardised(task, *task.fitting)
    test_x, _ = standardised(task, task.test)
    weights = fit(task, task.fitting, one(l2))[0, 0]
    reference = LogisticRegression(C=1 / (l2 * len(x)), tol=1e-6, max_iter=10_000).fit(x.numpy(), y.numpy())

    def objective(w: Tensor, b: Tensor) -> float:
        return (F.cross_entropy(x @ w.T + b, y) + l2 / 2 * w.square().sum()).item()

    optimum = objective(torch.from_numpy(reference.coef_), torch.from_numpy(reference.intercept_))
    assert objective(weights[:, :-1], weights[:, -1]) == pytest.approx(optimum, rel=1e-5)
    ours = (test_x @ weights[:, :-1].T + weights[:, -1]).argmax(1)
    assert (ours != torch.from_numpy(reference.predict(test_x.numpy()))).double().mean() <= 0.002


@pytest.mark.parametrize("data", ["digits", "overlapping"])
def test_the_whole_probe_agrees_with_scikit_learn_at_the_chosen_l2(data: str, request: pytest.FixtureRequest) -> None:
    task: Task = request.getfixturevalue(data)
    (found,) = LinearProbe()(task)
    x, y = standardised(task, *task.fitting)
    test_x, test_y = standardised(task, task.test)
    reference = LogisticRegression(C=1 / (found["linear_probe/l2"] * len(x)), tol=1e-6, max_iter=10_000)
    expected = 100 * reference.fit(x.numpy(), y.numpy()).score(test_x.numpy(), test_y.numpy())
    assert found["linear_probe/accuracy"] == pytest.approx(expected, abs=0.2)


def test_two_classes_match_scikit_learn_with_twice_the_c() -> None:
    two = split(*gaussians(600, 5, 2, spread=2.0), 2)
    x, y = standardised(two, two.train)
    weights = fit(two, (two.train,), one(0.01))[0, 0]
    reference = LogisticRegression(C=2 / (0.01 * len(x)), tol=1e-8, max_iter=1000).fit(x.numpy(), y.numpy())
    torch.testing.assert_close(
        weights[1, :-1] - weights[0, :-1], torch.from_numpy(reference.coef_[0]), atol=1e-3, rtol=1e-3
    )


def test_each_target_is_scored_independently(digits: Task) -> None:
    def relabelled(rows: Rows) -> Rows:
        y = rows.y[:, 0]
        return Rows(rows.features, torch.stack([y, (y + 3) // 2, y % 2], 1), rows.device)

    splits = [relabelled(rows) for rows in (digits.train, digits.validation, digits.test)]
    found = LinearProbe(l2=L2)(Task(splits[0], splits[1], splits[2], 10))
    for target in range(3):
        train, validation, test = (Rows(rows.features, rows.y[:, [target]], rows.device) for rows in splits)
        assert LinearProbe(l2=L2)(Task(train, validation, test, 10)) == [pytest.approx(found[target], abs=0.01)]


def test_solving_in_groups_gives_the_same_solution(overlapping: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    l2 = torch.tensor(L2, dtype=torch.float64)[:, None]
    together = fit(overlapping, (overlapping.train,), l2)
    monkeypatch.setattr(linear, "MEMORY", 0)
    torch.testing.assert_close(fit(overlapping, (overlapping.train,), l2), together, atol=1e-4, rtol=1e-3)


def test_l2_is_chosen_on_validation_and_not_on_train_or_test() -> None:
    # In train the second feature is the first one's noise: a weak penalty subtracts it, and is perfect where that
    # holds and worse than a strong one, which leaves it out, where its sign is another.
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(400) % 2
    noise = torch.randn(400, generator=generator)
    train, other = (torch.stack([2 * y - 1 + noise, sign * noise], 1) for sign in (1, -1))
    for validation, test, best in ((other, train, 10.0), (train, other, 1e-4)):
        (found,) = LinearProbe(l2=(1e-4, 10.0))(task((train, y), (validation, y), (test, y), 2))
        assert found["linear_probe/l2"] == best


def test_the_refit_learns_from_validation() -> None:
    # Class 2 has no example in train; only the refit can know it.
    eye = torch.eye(3)
    y = torch.arange(30) % 3
    found = LinearProbe(l2=(1e-4,))(task((eye[y % 2], y % 2), (eye[y], y), (eye[y], y), 3))
    # Its feature is constant in train, where it has no scale; the two others tell it apart.
    assert found[0]["linear_probe/accuracy"] == 100


def test_intercept_is_not_penalised() -> None:
    # With a feature that says nothing the optimum is the class frequencies, whatever the penalty.
    x, y = torch.tensor([[-1.0], [1.0]]).repeat(50, 1), (torch.arange(100) < 20).long()
    constant = task((x, y), (x, y), (x, y), 2)
    start = torch.zeros(1, 1, 2, 2, dtype=torch.float64)
    weights = fit(constant, (constant.train,), one(100.0), start)[0, 0]
    torch.testing.assert_close(weights[:, -1].softmax(0), torch.tensor([0.8, 0.2]).double(), atol=1e-4, rtol=0)


def test_scales_offsets_and_constants_have_no_effect(overlapping: Task) -> None:
    def changed(x: Tensor) -> Tensor:
        constant = torch.full((len(x), 1), 1234.5)
        return torch.cat([x[:, :10] * 1e-3, constant, 1e4 * x[:, 10:] + 1e6, constant * 0], 1)

    train, validation, test = (
        (changed(rows.features), rows.y) for rows in (overlapping.train, overlapping.validation, overlapping.test)
    )
    assert LinearProbe()(task(train, validation, test, 5)) == [pytest.approx(LinearProbe()(overlapping)[0], abs=0.2)]


def test_more_features_than_images_and_copies_of_features() -> None:
    x, y = gaussians(120, 40, 3, spread=0.3)
    copies = split(torch.cat([x, x, x[:, :5] + x[:, 5:10]], 1), y, 3)
    assert LinearProbe()(copies)[0]["linear_probe/accuracy"] == 100


def test_a_class_missing_from_train_is_not_predicted_and_one_image_is_enough(overlapping: Task) -> None:
    rest = overlapping.train.y[:, 0] < 3
    single = (overlapping.train.y[:, 0] == 3).nonzero()[:1, 0]
    index = torch.cat([rest.nonzero()[:, 0], single])
    lacking = task(
        (overlapping.train.features[index], overlapping.train.y[index]),
        (overlapping.train.features[index], overlapping.train.y[index]),
        (overlapping.test.features, torch.full((len(overlapping.test), 1), 4)),
        5,
    )
    assert LinearProbe(l2=L2)(lacking)[0]["linear_probe/accuracy"] == 0


def test_an_empty_grid_of_penalties_is_refused() -> None:
    with pytest.raises(UserError, match="linear_probe: l2 must be one or more"):
        LinearProbe(l2=())
