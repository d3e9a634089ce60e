"""Learning-rate schedules, with times given as fractions of the run."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from ssl_bench.ranges import Interval, NonNegativeFloat, UnitFloat, check_ranges


@check_ranges
@dataclass(frozen=True)
class Schedule:
    """A factor on every learning rate as a function of the progress of the run.

    Args:
        kind: ``constant`` keeps the factor 1. ``cosine`` and ``linear`` decrease from 1 to `end`. ``step`` multiplies
            by `gamma` at each milestone. ``exponential_epoch`` multiplies by `gamma` after each epoch,
            ``exponential_step`` after each step. ``exponential`` multiplies by `gamma` per epoch, evenly over the
            steps.
        warmup: fraction of the run over which the factor increases linearly from 0 to 1. ``cosine`` and ``linear``
            start after the warm-up; milestones and exponents count from the start of the run.
        end: final factor of ``cosine`` and ``linear``.
        milestones: fractions of the run at which ``step`` multiplies by `gamma`.
        gamma: factor of ``step`` and of the exponential schedules.
    """

    kind: Literal["constant", "cosine", "linear", "step", "exponential", "exponential_epoch", "exponential_step"] = (
        "constant"
    )
    warmup: UnitFloat = 0.0
    end: NonNegativeFloat = 0.0
    milestones: tuple[UnitFloat, ...] = (0.6, 0.75, 0.9)
    gamma: Annotated[float, Interval(0, 1, closed="right")] = 0.1

    def factor(self, step: int, steps: int, steps_per_epoch: int) -> float:
        """The factor at optimizer step `step` of `steps`, given the steps per epoch."""
        warmup = self.warmup * steps
        if step < warmup:
            return (step + 1) / (math.ceil(warmup) + 1)
        progress = (step - warmup) / max(1.0, steps - warmup)
        match self.kind:
            case "constant":
                return 1.0
            case "cosine":
                return self.end + (1 - self.end) * 0.5 * (1 + math.cos(math.pi * progress))
            case "linear":
                return 1 - (1 - self.end) * progress
            case "step":
                return self.gamma ** sum(step >= milestone * steps for milestone in self.milestones)
            case "exponential":
                return math.pow(self.gamma, step / steps_per_epoch)
            case "exponential_epoch":
                return self.gamma ** (step // steps_per_epoch)
            case "exponential_step":
                return self.gamma**step
