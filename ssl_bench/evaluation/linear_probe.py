"""Multinomial logistic regression, L-BFGS, L2 chosen on validation (Alain & Bengio 2016, arXiv 1610.01644)."""

from dataclasses import dataclass
from math import inf

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.linalg import solve_triangular

from ssl_bench.errors import UserError
from ssl_bench.evaluation.task import Task, accuracy


def second_moment(x: Tensor) -> Tensor:
    """``x.T @ x / N`` of ``(N, d)``, float64 ``(d, d)``."""
    return (x.T @ x).double() / len(x)


def fit(
    x: Tensor,
    y: Tensor,
    l2: float,
    start: tuple[Tensor, Tensor],
    moment: Tensor,
    *,
    tolerance: float = 1e-5,
    max_iter: int = 300,
) -> tuple[Tensor, Tensor]:
    """Minimise ``mean_i CE(W x_i + b, y_i) + l2 / 2 ||W||^2`` over W and b.

    The intercept b is not penalised. This is N C times smaller than scikit-learn's LogisticRegression objective
    ``C sum_i CE_i + 1/2 ||W||^2`` with ``C = 1 / (l2 N)``, so both have the same minimiser.

    Args:
        x: float ``(N, d)``, roughly centred.
        y: int64 ``(N,)``.
        l2: penalty, above 0.
        start: W ``(C, d)`` and b ``(C,)`` to begin from.
        moment: float64 ``(d, d)``, second moment of features like x; it decides the speed, not the result.
        tolerance: ends when no entry of the gradient, in the coordinates where the Hessian is near 1, is larger.
        max_iter: most L-BFGS iterations.

    Returns:
        W ``(C, d)`` and b ``(C,)``.
    """
    # For p(y|x) near uniform the Hessian for each class is moment / C + l2: in V = W L it is the identity, and
    # L-BFGS needs tens of evaluations where it would need hundreds. The ridge covers float32's error in moment.
    num_classes = len(start[0])
    ridge = l2 + 1e-6 * len(moment)
    hessian = moment / num_classes + ridge * torch.eye(len(moment), dtype=moment.dtype, device=moment.device)
    factor = torch.linalg.cholesky(hessian).to(x.dtype)
    v = (start[0] @ factor).requires_grad_()
    b = start[1].clone().requires_grad_()
    solver = torch.optim.LBFGS(
        [v, b],
        max_iter=max_iter,
        tolerance_grad=tolerance,
        tolerance_change=1e-8,
        line_search_fn="strong_wolfe",
    )

    def weight() -> Tensor:
        w: Tensor = solve_triangular(factor, v, upper=False, left=False)
        return w

    def objective() -> Tensor:
        solver.zero_grad()
        w = weight()
        value = F.cross_entropy(F.linear(x, w, b), y) + l2 / 2 * w.square().sum()
        value.backward()
        return value

    solver.step(objective)
    return weight().detach(), b.detach()


@dataclass(frozen=True)
class LinearProbe:
    """Logistic regression on features standardised by the train split, solved to convergence.

    The objective is :func:`fit`'s. The grid is solved on the train split from the strongest L2 down, each from the
    last one's solution, until validation cross-entropy has been above its lowest twice running. The L2 with the
    best validation accuracy (the strongest of equals) is refitted on train + validation and scored on test.

    Args:
        l2: penalties to choose from; ``l2 = 1 / (C N)`` in scikit-learn's C on N images.
        max_iter: most L-BFGS iterations for each of them.
    """

    l2: tuple[float, ...] = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    max_iter: int = 300

    def __post_init__(self) -> None:
        if not self.l2 or min(self.l2) <= 0:
            raise UserError(f"linear_probe: l2 = {list(self.l2)}; give one or more penalties, each above 0")

    def __call__(self, task: Task) -> dict[str, float]:
        """``linear_probe/accuracy`` in percent on test, and the ``linear_probe/l2`` that was chosen."""
        x, test_x = task.standardised()
        train_x, validation_x = x[: len(task.train_x)], x[len(task.train_x) :]
        moment = task.once("second_moment", lambda: second_moment(train_x))
        solution = x.new_zeros(task.num_classes, x.shape[1]), x.new_zeros(task.num_classes)
        best, chosen, chosen_solution = -1.0, 0.0, solution
        lowest, above = inf, 0
        for l2 in sorted(self.l2, reverse=True):
            solution = fit(train_x, task.train_y, l2, solution, moment, tolerance=3e-4, max_iter=self.max_iter)
            logits = F.linear(validation_x, *solution)
            score = accuracy(logits.argmax(1), task.validation_y)
            if score > best:
                best, chosen, chosen_solution = score, l2, solution
            loss = F.cross_entropy(logits, task.validation_y).item()
            lowest, above = (loss, 0) if loss < lowest else (lowest, above + 1)
            if above == 2:
                break
        solution = fit(x, task.fitting_y(), chosen, chosen_solution, moment, max_iter=self.max_iter)
        predicted = F.linear(test_x, *solution).argmax(1)
        return {"linear_probe/accuracy": accuracy(predicted, task.test_y), "linear_probe/l2": chosen}
