"""L-BFGS for many smooth convex problems at once (Liu & Nocedal 1989; Nocedal & Wright 2006, Algorithm 7.5)."""

from collections.abc import Callable

import torch
from torch import Tensor

Function = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Function of points ``(p, n)`` and indices of their problems ``(p,)`` that returns values ``(p,)`` and gradients."""

HISTORY = 10
MIN_VALUE = 0.1
"""Lower bound of the value that `tolerance` is relative to, because losses of separable classes go to 0 slowly."""
MIN_STEP = 2.0**-20
"""If a step must be shorter than this to decrease the function, rounding error dominates and the problem stops."""


def minimise(function: Function, start: Tensor, *, tolerance: float, max_passes: int) -> tuple[Tensor, Tensor]:
    """Minimise P independent functions of n variables, evaluating all of them in each call of ``function``.

    Each problem has its own curvature estimate, step length and end. It therefore takes the same steps as if it were
    solved alone. A problem that has converged is no longer passed to ``function``. Choose coordinates in which the
    Hessians are near the identity: then an initial step of length 1 is right, nearly every step is accepted, and the
    number of calls is about the number of iterations.

    Args:
        function: smooth, convex function, bounded below by 0.
        start: initial points, float64 ``(P, n)``.
        tolerance: a problem stops when half its Newton decrement (the approximate Hessian's estimate of ``f - min f``)
            is at most this fraction of f, or of :data:`MIN_VALUE` if f is smaller.
        max_passes: maximum number of calls of ``function``.

    Returns:
        The last accepted point of each problem, float64 ``(P, n)``, and whether it has converged, bool ``(P,)``.
    """
    result = start.clone()
    converged = torch.ones(len(start), dtype=torch.bool, device=start.device)
    problems = torch.arange(len(start), device=start.device)
    point = start
    value, gradient = function(point, problems)
    pairs = _Pairs(point)
    step = torch.ones_like(value)
    direction = -gradient
    for _ in range(max_passes - 1):
        slope = _dot(gradient, direction)
        going = (-slope / 2 > tolerance * value.clamp_min(MIN_VALUE)) & (step > MIN_STEP)
        if not going.all():
            result[problems[~going]] = point[~going]
            if not going.any():
                return result, converged
            problems, point, value, gradient = problems[going], point[going], value[going], gradient[going]
            direction, slope, step = direction[going], slope[going], step[going]
            pairs = pairs.select(going)
        trial = point + step[:, None] * direction
        trial_value, trial_gradient = function(trial, problems)
        # Armijo's condition, or, if the decrease is below the rounding error of f, the equivalent condition on slopes
        # (Hager & Zhang 2005, Eq. 23).
        rise = trial_value - value
        accepted = rise <= 1e-4 * step * slope
        accepted |= (rise <= 1e-6 * value) & (_dot(trial_gradient, direction) <= -(1 - 2e-4) * slope)
        pairs.append(trial - point, trial_gradient - gradient, accepted)
        kept = accepted[:, None]
        point, gradient = torch.where(kept, trial, point), torch.where(kept, trial_gradient, gradient)
        value = torch.where(accepted, trial_value, value)
        direction = torch.where(kept, pairs.direction(gradient), direction)
        # Otherwise minimise the interpolating parabola, within bounds.
        shorter = step * (-slope * step / (2 * (rise - slope * step))).clamp(0.1, 0.5)
        step = torch.where(accepted, 1.0, shorter)
    result[problems], converged[problems] = point, False
    return result, converged


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1)


class _Pairs:
    """The last steps of each problem and the changes of its gradient; unused entries are 0 and have no effect.

    Row ``place * P + p`` holds one of the last HISTORY pairs of problem p.
    """

    def __init__(self, like: Tensor) -> None:
        self.problems = torch.arange(len(like), device=like.device)
        self.steps = like.new_zeros(HISTORY * len(like), like.shape[1])
        self.changes = torch.zeros_like(self.steps)
        self.inverse = like.new_zeros(HISTORY * len(like))  # 1 / (step . change)
        self.scale = like.new_ones(len(like))
        self.count = torch.zeros_like(self.problems)

    def select(self, problems: Tensor) -> "_Pairs":
        kept = problems.repeat(HISTORY)
        self.steps, self.changes, self.inverse = self.steps[kept], self.changes[kept], self.inverse[kept]
        self.scale, self.count = self.scale[problems], self.count[problems]
        self.problems = torch.arange(len(self.count), device=self.count.device)
        return self

    def append(self, step: Tensor, change: Tensor, where: Tensor) -> None:
        curvature = _dot(step, change)
        where = (where & (curvature > 0)).nonzero().squeeze(1)
        row = self.count[where] % HISTORY * len(self.count) + where
        # Unlike indexing with [], these functions do not wait for all threads of a busy machine if rows are short.
        self.steps.index_copy_(0, row, step.index_select(0, where))
        self.changes.index_copy_(0, row, change.index_select(0, where))
        self.inverse[row] = 1 / curvature[where]
        self.scale[where] = (curvature / change.square().sum(-1))[where]
        self.count[where] += 1

    def direction(self, gradient: Tensor) -> Tensor:
        """``-H gradient`` by the two-loop recursion."""
        newest_first = [(self.count - i) % HISTORY * len(self.count) + self.problems for i in range(1, HISTORY + 1)]
        q = gradient.clone()
        weights = []
        for row in newest_first:
            weight = self.inverse[row] * _dot(self.steps.index_select(0, row), q)
            q -= weight[:, None] * self.changes.index_select(0, row)
            weights.append(weight)
        q *= self.scale[:, None]
        for row, weight in zip(reversed(newest_first), reversed(weights), strict=True):
            back = self.inverse[row] * _dot(self.changes.index_select(0, row), q)
            q += (weight - back)[:, None] * self.steps.index_select(0, row)
        return -q
