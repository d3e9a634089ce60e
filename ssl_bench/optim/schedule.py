"""Learning-rate schedules in fractions of the run."""

import math
from dataclasses import dataclass
from typing import Literal

from ssl_bench.errors import UserError


@dataclass(frozen=True)
class Schedule:
    """A factor on every learning rate as a function of the progress through the run.

    Args:
        kind: ``constant``; ``cosine`` and ``linear`` go from 1 to `end`; ``step`` multiplies by `gamma` at each
            milestone; ``exponential_epoch`` and ``exponential_step`` multiply by `gamma` after each epoch or step;
            ``exponential`` comes down by `gamma` in an epoch too, a little at every step of it.
        warmup: fraction of the run over which the factor rises linearly from 0 to 1; ``cosine`` and ``linear`` follow
            it, milestones and exponents count from the start of the run.
        end: last factor of ``cosine`` and ``linear``.
        milestones: fractions of the run at which ``step`` multiplies.
        gamma: what ``step`` and the exponentials multiply by.
    """

    kind: Literal["constant", "cosine", "linear", "step", "exponential", "exponential_epoch", "exponential_step"] = (
        "constant"
    )
    warmup: float = 0.0
    end: float = 0.0
    milestones: tuple[float, ...] = (0.6, 0.75, 0.9)
    gamma: float = 0.1

    def __post_init__(self) -> None:
        """Refuse fractions that are none, and rates that would rise or turn."""
        if not all(0 <= fraction <= 1 for fraction in (self.warmup, *self.milestones)):
            raise UserError(
                f"schedule: warmup {self.warmup}, milestones {self.milestones}: expected fractions of the run"
            )
        if not 0 < self.gamma <= 1 or self.end < 0:
            raise UserError(
                f"schedule: gamma {self.gamma}, end {self.end}: give a gamma above 0 and at most 1, an end of 0 or more"
            )

    def factor(self, step: int, steps: int, steps_per_epoch: int) -> float:
        """The factor in effect at optimizer step `step` of `steps`, of which an epoch has `steps_per_epoch`."""
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
