"""L-BFGS for many smooth convex problems at once (Liu & Nocedal 1989; Byrd, Nocedal & Schnabel 1994)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
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


def _times(matrices: Tensor, vectors: Tensor) -> Tensor:
    """Product of each matrix ``(P, a, b)`` with its vector ``(P, b)``.

    One by one, because the rounding of a batched product depends on P, and it is slower on a CPU.
    """
    return torch.stack([matrix @ vector for matrix, vector in zip(matrices, vectors, strict=True)])


def _aligned(vectors: Tensor) -> Tensor:
    """Vectors with zeros appended up to a multiple of 64 bytes, as rounding may depend on the address of a vector."""
    return F.pad(vectors, (0, -vectors.shape[-1] % 8))


class _Pairs:
    """The last steps of each problem and the changes of its gradient; unused ones are 0 and have no effect.

    The inverse Hessian is applied by its compact representation (Byrd, Nocedal & Schnabel 1994, Theorem 2.2), which
    needs two products with all pairs, where the two-loop recursion needs four small operations for each pair.

    Attributes:
        pairs: steps s, then changes y, float64 ``(P, 2 HISTORY, >= n)``. The oldest pair is overwritten.
        products: products of each step and each change with each change, float64 ``(P, 2 HISTORY, HISTORY)``.
        count: number of pairs appended so far, int64 ``(P,)``.
        scale: gamma of the initial inverse Hessian ``gamma I``, float64 ``(P,)``.
    """

    def __init__(self, like: Tensor) -> None:
        self.pairs = _aligned(like.new_zeros(len(like), 2 * HISTORY, like.shape[1]))
        identity = torch.eye(HISTORY, dtype=like.dtype, device=like.device)
        self.products = torch.cat([identity, torch.zeros_like(identity)]).repeat(len(like), 1, 1)
        self.scale = like.new_ones(len(like))
        self.count = torch.zeros(len(like), dtype=torch.int64, device=like.device)

    def select(self, problems: Tensor) -> "_Pairs":
        self.pairs, self.products = self.pairs[problems], self.products[problems]
        self.scale, self.count = self.scale[problems], self.count[problems]
        return self

    def append(self, step: Tensor, change: Tensor, where: Tensor) -> None:
        curvature = _dot(step, change)
        where = (where & (curvature > 0)).nonzero().squeeze(1)
        slot, step, change = self.count[where] % HISTORY, _aligned(step), _aligned(change)
        self.pairs[where, slot], self.pairs[where, slot + HISTORY] = step[where], change[where]
        with_change = _times(self.pairs, change)[where]
        with_step = _times(self.pairs[:, HISTORY:], step)[where]
        self.products[where, :, slot] = with_change
        self.products[where, slot] = with_step
        self.products[where, slot + HISTORY] = with_change[:, HISTORY:]
        self.scale[where] = curvature[where] / change[where].square().sum(-1)
        self.count[where] += 1

    def direction(self, gradient: Tensor) -> Tensor:
        """``-H gradient`` by the compact representation."""
        of_steps, of_changes = self.products.chunk(2, 1)
        scale = self.scale[:, None]
        oldest_first = (self.count[:, None] + torch.arange(HISTORY, device=gradient.device)) % HISTORY
        order = oldest_first[:, :, None].expand_as(of_steps)
        upper = of_steps.gather(1, order).gather(2, order.mT).triu()
        with_steps, with_changes = _times(self.pairs, _aligned(gradient)).chunk(2, 1)

        def solve(triangle: Tensor, right: Tensor, is_upper: bool) -> Tensor:
            sorted_right = right.gather(1, oldest_first)[:, :, None]
            found = torch.linalg.solve_triangular(triangle, sorted_right, upper=is_upper)
            return torch.zeros_like(right).scatter_(1, oldest_first, found.squeeze(2))

        t = solve(upper, with_steps, True)
        curvature = of_steps.diagonal(dim1=1, dim2=2)
        u = solve(upper.mT, curvature * t + scale * (_times(of_changes, t) - with_changes), False)
        weights = torch.cat([u, -scale * t], 1)
        return -(scale * gradient + _times(self.pairs.mT, weights)[:, : gradient.shape[1]])
