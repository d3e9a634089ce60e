from itertools import islice

import pytest
import torch
from sklearn.neural_network import MLPClassifier

from ssl_bench.evaluation.mlp_probe import MLPProbe
from ssl_bench.evaluation.task import Task


@pytest.mark.parametrize("data", ["digits", "overlapping"])
def test_agrees_roughly_with_scikit_learn(data: str, request: pytest.FixtureRequest) -> None:
    task: Task = request.getfixturevalue(data)
    found = MLPProbe()(task)
    x, test_x = task.standardised()
    reference = MLPClassifier(
        (x.shape[1],), batch_size=32, max_iter=int(found["mlp_probe/epochs"]), random_state=0, n_iter_no_change=1000
    )
    reference.fit(x.numpy(), task.fitting_y().numpy())
    expected = 100 * reference.score(test_x.numpy(), task.test_y.numpy())
    assert found["mlp_probe/accuracy"] == pytest.approx(expected, abs=2.0)


def test_solves_what_no_linear_probe_can() -> None:
    x = torch.rand(2000, 2, generator=torch.Generator().manual_seed(0)) - 0.5
    y = (x[:, 0] * x[:, 1] > 0).long()  # exclusive or
    task = Task(x[:1200], y[:1200], x[1200:1500], y[1200:1500], x[1500:], y[1500:], 2)
    assert MLPProbe(hidden=32)(task)["mlp_probe/accuracy"] > 95


def test_networks_trained_together_are_those_trained_alone(digits: Task) -> None:
    x, y = digits.standardised()[0][:300], digits.train_y[:300]
    probe = MLPProbe(hidden=16)

    def after_three_epochs(decays: tuple[float, ...]) -> torch.Tensor:
        return next(islice(probe._train(x, y, 10, decays), 2, None)).predict(x)

    together = after_three_epochs((0.0, 1.0, 30.0))
    for m, decay in enumerate((0.0, 1.0, 30.0)):
        torch.testing.assert_close(together[m], after_three_epochs((decay,))[0], atol=1e-4, rtol=1e-4)
    assert together[2].std() < 0.9 * together[0].std()


def test_weight_decay_and_epoch_are_chosen_on_validation() -> None:
    # Validation is labelled at random, but for one class-0 feature that a heavily decayed network keeps to:
    # it wants as little training as there is, train and test as much.
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(600, 20, generator=generator)
    y = (x[:, 0] > 0).long()
    honest = MLPProbe(max_epochs=30)(Task(x[:400], y[:400], x[400:500], y[400:500], x[500:], y[500:], 2))
    opposed = MLPProbe(max_epochs=30)(Task(x[:400], y[:400], x[400:500], 1 - y[400:500], x[500:], y[500:], 2))
    assert opposed["mlp_probe/epochs"] <= 2 < honest["mlp_probe/epochs"]
