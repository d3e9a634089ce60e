"""Linear support vector machine, one against the rest, C chosen on validation (Tang 2013, arXiv 1306.0239)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ssl_bench.errors import UserError
from ssl_bench.evaluation import linear
from ssl_bench.evaluation.rows import Rows
from ssl_bench.evaluation.task import Task


def fit(
    task: Task,
    splits: Sequence[Rows],
    c: Tensor,
    start: Tensor | None = None,
    tolerance: float = linear.TIGHT,
    max_iter: int = 300,
) -> Tensor:
    """Minimise ``1/2 (||w||^2 + b^2) + c sum_i max(0, 1 - s_i (w z_i + b))^2`` for each class against the rest.

    z are the features standardised by the train split, and s_i is 1 for images of the class and -1 for others. It
    is the objective of LIBLINEAR's L2-loss primal SVM, scikit-learn's ``LinearSVC(C=c, intercept_scaling=1)``, which
    sees the intercept as the weight of one more feature that is always 1 and so penalises it.

    Args:
        task: T targets of C classes.
        splits: what to fit on.
        c: float64 ``(G, T)``, above 0: G values for each target.
        start: float64 ``(G, T, C, d + 1)`` to begin from; None for 0.
        tolerance: see :func:`.solver.minimise`.
        max_iter: most passes over the rows.

    Returns:
        float64 ``(G, T, C, d + 1)``, of each class w and then b.
    """
    (grid, targets), classes = c.shape, task.num_classes
    # Of two classes the first's problem is the second's mirrored.
    positive = torch.arange(classes == 2, classes, device=task.device)
    column = torch.arange(targets * len(positive), device=task.device).repeat(grid)

    def squared_hinge(margins: Tensor, y: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        signs = (y.T[:, None] == positive[:, None]).to(margins.dtype).mul_(2).sub_(1).flatten(0, 1)[column[which]]
        slack = margins.squeeze(1).mul_(signs).neg_().add_(1).relu_()
        return slack.square(), signs.mul_(slack).mul_(-2)[:, None]

    if start is None:
        start = torch.zeros(grid, targets, classes, task.train.dim + 1, dtype=c.dtype, device=task.device)
    weights = linear.fit(
        task,
        splits,
        squared_hinge,
        start[:, :, positive].flatten(0, 2)[:, None],
        # The objective divided by c N.
        (1 / (c * sum(map(len, splits))))[..., None].expand(-1, -1, len(positive)).flatten(),
        intercept_penalised=True,
        curvature=1.0,  # 2 for the images inside the margin, 0 for others
        tolerance=tolerance,
        max_iter=max_iter,
    ).view(grid, targets, len(positive), -1)
    return torch.cat([-weights, weights], 2) if classes == 2 else weights


@dataclass(frozen=True)
class SVM:
    """Linear SVM with squared hinge loss on features standardised by the train split, solved to convergence.

    Every C is solved on the train split, all of them, all classes and all targets at once. The C with the best
    validation accuracy (the smallest of equals) is refitted on train + validation, with :func:`fit`'s objective, and
    the class with the largest margin is scored on test. A class without an image in what was fitted is never predicted.

    The weight of the loss against the penalty is C times the number of images. The default values make it go from
    1e-3 to 1e3 for a thousand images and from 1 to 1e6 for a million: from where only the direction of the class
    means counts to where, with features of deviation 1, the penalty hardly does; the largest is scikit-learn's default.

    Args:
        c: values of C to choose from, as in scikit-learn.
        max_iter: most passes over the features for all values, and for the refit.
    """

    c: tuple[float, ...] = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    max_iter: int = 300

    def __post_init__(self) -> None:
        if not self.c or min(self.c) <= 0:
            raise UserError(f"svm: c = {list(self.c)}; give one or more values, each above 0")

    def __call__(self, task: Task) -> list[dict[str, float]]:
        """``svm/accuracy`` in percent on test and the ``svm/c`` that was chosen, of each target."""
        found = linear.choose_and_score(
            task,
            sorted(self.c),
            lambda splits, c, start, tolerance: fit(task, splits, c, start, tolerance, self.max_iter),
        )
        return [{"svm/accuracy": accuracy, "svm/c": c} for accuracy, c in found]
