from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LRScheduler, MultiStepLR

from ssl_bench.errors import UserError
from ssl_bench.evaluation.minibatches import minibatches
from ssl_bench.evaluation.protocols.linear_probe_sgd import LinearProbeSGD
from ssl_bench.evaluation.task import Task
from tests.evaluation.conftest import gaussians, rows, split, task
from tests.ranks import Ranks

ADAM = LinearProbeSGD(optimizer="adam", learning_rate=1e-2, schedule="constant", epochs=4)
COSINE = LinearProbeSGD(learning_rate=0.1, epochs=4)
STEPS = LinearProbeSGD(learning_rate=0.1, schedule="step", milestones=(1, 3), epochs=4)


@pytest.mark.parametrize("probe", [COSINE, STEPS, ADAM], ids=["cosine", "steps", "adam"])
def test_weights_are_those_of_a_plain_loop(probe: LinearProbeSGD, digits: Task) -> None:
    generator = torch.Generator().manual_seed(0)
    linear = nn.Linear(64, 10)
    with torch.no_grad():
        for parameter in linear.parameters():
            parameter.uniform_(-1 / 8, 1 / 8, generator=generator)
    steps = -(-sum(map(len, digits.fitting)) // 256)
    optimizer: torch.optim.Optimizer = torch.optim.SGD(linear.parameters(), lr=0.1, momentum=0.9)
    schedule: LRScheduler
    if probe is COSINE:
        schedule = CosineAnnealingLR(optimizer, 4 * steps)
    elif probe is STEPS:
        schedule = MultiStepLR(optimizer, [steps, 3 * steps], gamma=0.2)
    else:
        optimizer = torch.optim.Adam(linear.parameters(), lr=1e-2)
        schedule = ConstantLR(optimizer, 1.0)
    for _ in range(4):
        for x, y in minibatches(digits.fitting, 256, generator):
            optimizer.zero_grad()
            nn.functional.cross_entropy(linear(x), y[:, 0]).backward()
            optimizer.step()
            schedule.step()
    weight, bias = probe.fit(digits)
    torch.testing.assert_close(weight[0], linear.weight.data, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(bias[0], linear.bias.data, atol=1e-3, rtol=1e-3)
    right = (linear(digits.test.features).argmax(1) == digits.test.y[:, 0]).double().mean()
    assert probe(digits)[0]["linear_probe_sgd/accuracy"] == pytest.approx(100 * right.item(), abs=0.5)


def test_schedules_are_the_papers() -> None:
    cosine = LinearProbeSGD()
    assert [cosine.rate(epoch) for epoch in (0, 50, 100)] == pytest.approx([30, 15, 0])
    steps = LinearProbeSGD(learning_rate=0.1, schedule="step")
    assert [steps.rate(epoch) for epoch in (59.9, 60, 75, 90)] == pytest.approx([0.1, 0.02, 0.004, 0.0008])


def test_separable_classes_are_separated() -> None:
    y = torch.arange(400) % 4
    [found] = LinearProbeSGD(epochs=5)(split(torch.eye(4)[y], y, 4))
    assert found == {"linear_probe_sgd/accuracy": 100.0}


def test_each_target_is_fitted_independently(digits: Task) -> None:
    def with_labels(*targets: int) -> Task:
        parts = [
            rows(part.features, torch.cat([part.y, 9 - part.y, part.y // 2], 1)[:, list(targets)])
            for part in (digits.train, digits.validation, digits.test)
        ]
        return Task(parts[0], parts[1], parts[2], 10)

    weight, bias = COSINE.fit(with_labels(0, 1, 2))
    for target in range(3):
        [one], [its] = COSINE.fit(with_labels(target))
        torch.testing.assert_close(weight[target], one, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(bias[target], its, atol=1e-4, rtol=1e-4)


def test_augmented_passes_are_used_in_turn(digits: Task) -> None:
    train, validation = (rows(part.features * torch.nan, part.y) for part in digits.fitting)
    task = replace(digits, train=train, validation=validation, augmented=(digits.fitting, (train, validation)))
    expected = replace(COSINE, epochs=1)(digits)
    assert replace(COSINE, epochs=1, passes=2)(task) == expected, "the first pass in the first epoch"
    assert replace(COSINE, passes=1)(task) == COSINE(digits), "no more passes than were asked for"
    with pytest.raises(UserError, match="weights are not finite"):
        replace(COSINE, epochs=2, passes=2)(task)


def test_missing_passes_are_refused(digits: Task) -> None:
    with pytest.raises(UserError, match=r"passes = 2, but there are 0 augmented passes .* give a smaller number"):
        LinearProbeSGD(passes=2)(digits)


def given(test: int) -> Task:
    x, y = gaussians(600 + test, 10, 3, spread=1.0)
    y = torch.stack([y, (y + 1) % 3], 1)
    return task((x[:500], y[:500]), (x[500:600], y[500:600]), (x[600:], y[600:]), 3)


def score(test: int) -> list[dict[str, float]]:
    return replace(COSINE, epochs=2)(given(test))


@pytest.mark.parametrize(("test", "blocks"), [(100, 1), (2500, 3), (4700, 5)])
def test_is_the_same_on_any_number_of_processes(test: int, blocks: int, ranks: Ranks) -> None:
    # Of 4 ranks three or one have no block of the test split, or one has two.
    assert len(given(test).test.slices()) == blocks
    [alone] = ranks(score, test, size=1)
    for size in (2, 3, 4):
        assert ranks(score, test, size=size) == [alone] * size


@pytest.mark.parametrize("milestones", [(75, 60), (60, 60)])
def test_milestones_that_do_not_increase_are_refused(milestones: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"^linear_probe_sgd: milestones must be increasing, got"):
        LinearProbeSGD(milestones=milestones)
