"""Schedules against torch's own schedulers."""

from collections.abc import Callable

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, LinearLR, LRScheduler, MultiStepLR

from ssl_bench.optim.schedule import Schedule

STEPS, STEPS_PER_EPOCH = 40, 10


def rates(make: Callable[[torch.optim.Optimizer], LRScheduler], every: int = 1) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    found = []
    for step in range(STEPS):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if (step + 1) % every == 0:
            scheduler.step()
    return found


@pytest.mark.parametrize(
    ("schedule", "theirs"),
    [
        (Schedule("constant"), [1.0] * STEPS),
        (Schedule("cosine"), rates(lambda o: CosineAnnealingLR(o, STEPS))),
        (Schedule("linear"), rates(lambda o: LinearLR(o, 1.0, 0.0, STEPS))),
        (Schedule("step", milestones=(0.5, 0.75)), rates(lambda o: MultiStepLR(o, [20, 30]))),
        (Schedule("exponential_step", gamma=0.9), rates(lambda o: ExponentialLR(o, 0.9))),
        (Schedule("exponential_epoch", gamma=0.9), rates(lambda o: ExponentialLR(o, 0.9), STEPS_PER_EPOCH)),
    ],
)
def test_schedule_is_torchs(schedule: Schedule, theirs: list[float]) -> None:
    assert [schedule.factor(step, STEPS, STEPS_PER_EPOCH) for step in range(STEPS)] == pytest.approx(theirs)


def test_exponential_is_the_rule_of_every_epoch_spread_over_its_steps() -> None:
    """Against torch's decay by a step's share of gamma: where an epoch ends both rules are at the same place."""
    spread, by_epoch = Schedule("exponential", gamma=0.5), Schedule("exponential_epoch", gamma=0.5)
    factors = [spread.factor(step, STEPS, STEPS_PER_EPOCH) for step in range(STEPS + 1)]
    assert factors[:-1] == pytest.approx(rates(lambda o: ExponentialLR(o, 0.5 ** (1 / STEPS_PER_EPOCH))))
    at_epochs = range(0, STEPS + 1, STEPS_PER_EPOCH)
    assert [factors[step] for step in at_epochs] == pytest.approx(
        [0.5**epoch for epoch in range(STEPS // STEPS_PER_EPOCH + 1)]
    )
    assert [factors[step] for step in at_epochs] == [
        by_epoch.factor(step, STEPS, STEPS_PER_EPOCH) for step in at_epochs
    ]
    assert all(factors[step] <= by_epoch.factor(step, STEPS, STEPS_PER_EPOCH) for step in range(STEPS))


def test_warm_up_rises_linearly_and_meets_the_schedule() -> None:
    schedule = Schedule("cosine", warmup=0.25)
    factors = [schedule.factor(step, STEPS, STEPS_PER_EPOCH) for step in range(STEPS)]
    assert factors[:11] == pytest.approx([(step + 1) / 11 for step in range(11)])
    assert factors[10] == max(factors)
    assert factors[-1] < 0.01
