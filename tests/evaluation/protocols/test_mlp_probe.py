from itertools import islice
from typing import Any

import pytest
import torch
from sklearn.neural_network import MLPClassifier
from torch import Tensor, nn

from ssl_bench.errors import UserError
from ssl_bench.evaluation.protocols import mlp_probe
from ssl_bench.evaluation.protocols.mlp_probe import MLPProbe, Networks
from ssl_bench.evaluation.task import Task
from tests.evaluation.conftest import gaussians, rows, split, task
from tests.ranks import Ranks


def with_targets(one: Task) -> Task:
    """The same images with three targets, easy and hard."""
    parts = [
        rows(part.features, torch.cat([part.y, 9 - part.y, part.y * part.features[:, 20:21].long() % 10], 1))
        for part in (one.train, one.validation, one.test)
    ]
    return Task(parts[0], parts[1], parts[2], one.num_classes)


def only(one: Task, target: int) -> Task:
    parts = [rows(part.features, part.y[:, target]) for part in (one.train, one.validation, one.test)]
    return Task(parts[0], parts[1], parts[2], one.num_classes)


@pytest.mark.parametrize("data", ["digits", "overlapping"])
def test_agrees_roughly_with_scikit_learn(data: str, request: pytest.FixtureRequest) -> None:
    task: Task = request.getfixturevalue(data)
    [found] = MLPProbe(weight_decay=(0.0,), max_epochs=20)(task)
    mean, deviation, _ = task.scaling()

    def arrays(*parts: Any) -> tuple[Any, Any]:
        x = torch.cat([part.features for part in parts]).double()
        return ((x - mean) / deviation).numpy(), torch.cat([part.y for part in parts])[:, 0].numpy()

    reference = MLPClassifier(
        (task.train.dim,), batch_size=32, max_iter=int(found["mlp_probe/epochs"]), random_state=0, n_iter_no_change=1000
    ).fit(*arrays(*task.fitting))
    expected = 100 * reference.score(*arrays(task.test))
    assert found["mlp_probe/accuracy"] == pytest.approx(expected, abs=2.0)


def test_solves_a_problem_that_is_not_linear() -> None:
    x = torch.rand(2000, 2, generator=torch.Generator().manual_seed(0)) - 0.5
    y = (x[:, 0] * x[:, 1] > 0).long()  # exclusive or
    [found] = MLPProbe(hidden=32)(task((x[:1200], y[:1200]), (x[1200:1500], y[1200:1500]), (x[1500:], y[1500:]), 2))
    assert found["mlp_probe/accuracy"] > 95


def test_a_network_is_initialised_and_trained_as_in_pytorch() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = 5 + 3 * torch.randn(64, 6, generator=generator), torch.randint(4, (64, 2), generator=generator)
    mean, deviation = x.mean(0), x.std(0)
    settings: dict[str, Any] = {"hidden": 8, "num_classes": 4, "learning_rate": 1e-2}
    networks = Networks(mean, deviation, [(0, 0.5), (1, 3.0)], **settings, generator=generator)

    first, second = nn.Linear(6, 8), nn.Linear(8, 4)
    with torch.no_grad():
        first.weight.copy_(networks.weight_1[1])
        first.bias.copy_(networks.bias_1[1, :, 0])
        second.weight.copy_(networks.weight_2[1])
        second.bias.copy_(networks.bias_2[1, :, 0])
    reference = nn.Sequential(first, nn.ReLU(), second)
    adam = torch.optim.Adam(reference.parameters(), lr=1e-2)
    for batch in range(0, 64, 16):
        networks.step(x[batch : batch + 16], y[batch : batch + 16])
        loss = nn.functional.cross_entropy(
            reference(((x - mean) / deviation)[batch : batch + 16]), y[batch : batch + 16, 1]
        )
        adam.zero_grad()
        loss.backward()
        with torch.no_grad():
            for layer in (first, second):
                layer.weight *= 1 - 1e-2 * 3.0
        adam.step()
    expected = reference((x - mean) / deviation)
    torch.testing.assert_close(networks(x)[1].T, expected)
    right = (expected.argmax(1) == y[:, 1]).double().mean()
    scores = networks.scores(rows(x, y))
    torch.testing.assert_close(
        scores[1], torch.stack([right, -nn.functional.cross_entropy(expected, y[:, 1]).double()])
    )


def test_networks_trained_together_are_the_same_as_trained_alone(digits: Task) -> None:
    together, probe = with_targets(digits), MLPProbe(hidden=16)

    def logits(settings: list[tuple[int, float]], kept: list[bool]) -> Tensor:
        training = probe._train(together, together.fitting, settings)
        networks = next(islice(training, 1, None))
        networks.keep(kept)
        next(training)
        return networks(digits.test.features)

    found = logits([(0, 1.0), (1, 1.0), (2, 0.1)], [True, False, True])
    torch.testing.assert_close(found[0], logits([(0, 1.0)], [True])[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found[1], logits([(2, 0.1)], [True])[0], atol=1e-4, rtol=1e-4)


def test_weight_decays_trained_together_or_one_by_one_have_the_same_scores(
    digits: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe, found = MLPProbe(hidden=16, max_epochs=5, patience=2), []
    for together in (0, 2**30):
        monkeypatch.setattr(mlp_probe, "TOGETHER", together)
        found.append(probe(with_targets(digits)))
    for alone, one in zip(*found, strict=True):
        assert one == pytest.approx(alone, abs=0.5)


def test_scores_do_not_depend_on_how_many_images_are_scored_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(64, 6, generator=generator), torch.randint(4, (64, 1), generator=generator)
    networks = Networks(
        x.mean(0), x.std(0), [(0, 0.0)], hidden=8, num_classes=4, learning_rate=1e-2, generator=generator
    )
    whole = networks.scores(rows(x, y))
    monkeypatch.setattr(mlp_probe, "SCORED", 7 * 8)
    monkeypatch.setattr(mlp_probe, "SMALLEST", 1)
    torch.testing.assert_close(networks.scores(rows(x, y)), whole)


def test_each_target_is_scored_independently(digits: Task) -> None:
    together, probe = with_targets(digits), MLPProbe(hidden=16, max_epochs=8, patience=2)
    found = probe(together)
    for target in range(3):
        [alone] = probe(only(together, target))
        assert found[target] == pytest.approx(alone, abs=0.5)
    assert len({one["mlp_probe/epochs"] for one in found}) > 1, "targets that stop at different epochs"


def test_weight_decay_and_epoch_are_chosen_on_validation_by_each_target() -> None:
    # Validation of the second target contradicts its training: it wants as little of that as there is.
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(600, 20, generator=generator)
    y = (x[:, :1] > 0).long().repeat(1, 2)
    opposed = y[400:500] ^ torch.tensor([0, 1])
    found = MLPProbe(max_epochs=30)(task((x[:400], y[:400]), (x[400:500], opposed), (x[500:], y[500:]), 2))
    assert found[1]["mlp_probe/epochs"] <= 2 < found[0]["mlp_probe/epochs"]
    assert found[1]["mlp_probe/accuracy"] < found[0]["mlp_probe/accuracy"]


def given() -> Task:
    x, y = gaussians(3600, 10, 3, spread=1.0)
    return split(x, torch.stack([y, (y + 1) % 3, (x[:, 0] > x[:, 0].median()).long()], 1), 3)


def score() -> list[dict[str, float]]:
    return MLPProbe(hidden=8, max_epochs=3, patience=1)(given())


def test_is_the_same_on_any_number_of_processes(ranks: Ranks) -> None:
    assert len(given().train.slices()) == 3, "the mean and deviation are sums over blocks; of 4 ranks one has none"
    [alone] = ranks(score, size=1)
    assert len({one["mlp_probe/weight_decay"] for one in alone}) > 1, "refits of different weight decays"
    for size in (2, 3, 4):
        assert ranks(score, size=size) == [alone] * size


@pytest.mark.parametrize("weight_decay", [(), (1000.0,)])
def test_weight_decay_that_is_empty_or_too_large_is_refused(weight_decay: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match=r"^mlp_probe: weight_decay must be one or more numbers below"):
        MLPProbe(weight_decay=weight_decay)
