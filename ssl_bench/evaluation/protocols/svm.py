"""Linear support vector machine, one against the rest, C chosen on validation (Tang 2013, arXiv 1306.0239)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ssl_bench.errors import UserError
from ssl_bench.evaluation import linear
from ssl_bench.evaluation.model_selection import choose_and_score
from ssl_bench.evaluation.rows import Rows
from ssl_bench.evaluation.task import Task
from ssl_bench.ranges import PositiveFloat, PositiveInt, check_ranges


def fit(
    task: Task,
    splits: Sequence[Rows],
    c: Tensor,
    start: Tensor | None = None,
    tolerance: float = linear.TIGHT,
    max_iter: int = 300,
) -> Tensor:
    """Minimise ``1/2 (||w||^2 + b^2) + c sum_i max(0, 1 - s_i (w z_i + b))^2`` for each class against the rest.

    Here z are the features standardised by train, and s_i is 1 for images of the class and -1 for others. This is the
    objective of LIBLINEAR's L2-loss primal SVM, scikit-learn's ``LinearSVC(C=c, intercept_scaling=1)``. The intercept
    is penalised like the weight of a constant feature.

    Args:
        task: task with T targets of C classes.
        splits: splits to fit on.
        c: G values of C for each target, float64 ``(G, T)``, positive.
        start: initial weights, float64 ``(G, T, C, d + 1)``, with which the fit is the one that is scored; None for 0.
        tolerance: see :func:`.solver.minimise`.
        max_iter: maximum number of passes over the rows.

    Returns:
        Weights, float64 ``(G, T, C, d + 1)``: for each class w, then b.
    """
    (grid, targets), classes = c.shape, task.num_classes
    # With two classes, the problem of the first class is that of the second class with opposite signs.
    positive = torch.arange(classes == 2, classes, device=task.device)
    column = torch.arange(targets * len(positive), device=task.device).repeat(grid)

    def squared_hinge(margins: Tensor, y: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        signs = (y.T[:, None] == positive[:, None]).to(margins.dtype).mul_(2).sub_(1)
        signs = signs.flatten(0, 1).index_select(0, column[which])
        slack = margins.squeeze(1).mul_(signs).neg_().add_(1).relu_()
        return slack.square(), signs.mul_(slack).mul_(-2)[:, None]

    refit = start is not None
    if start is None:
        start = torch.zeros(grid, targets, classes, task.train.dim + 1, dtype=c.dtype, device=task.device)
    weights = linear.fit(
        task,
        splits,
        squared_hinge,
        start[:, :, positive].flatten(0, 2)[:, None],
        # L2 penalty of the objective divided by c N.
        (1 / (c * sum(map(len, splits))))[..., None].expand(-1, -1, len(positive)).flatten(),
        intercept_penalised=True,
        curvature=1.0,  # it is 2 for images inside the margin and 0 for others
        tolerance=tolerance,
        max_iter=max_iter,
        name="svm" if refit else "",
    ).view(grid, targets, len(positive), -1)
    return torch.cat([-weights, weights], 2) if classes == 2 else weights


@check_ranges
@dataclass(frozen=True)
class SVM:
    """Linear SVM with squared hinge loss on features standardised by the train split.

    The objective is that of :func:`fit`, solved to convergence or for `max_iter` passes. All values of C are fitted on
    train for all classes and targets at once. The classifier is refitted on train + validation with the C of the best
    validation accuracy (the smallest C if there are ties). Test images are assigned to the class with the largest
    margin. A class without images in the fitted splits is never predicted.

    The weight of the loss relative to the penalty is C times the number of images. With the default values it is 1e-3
    to 1e3 for a thousand images and 1 to 1e6 for a million. At the lower end, only the directions of the class means
    matter; at the upper end, the penalty has almost no effect. The largest default value is the default of
    scikit-learn.

    Args:
        c: values of C to choose from, as in scikit-learn.
        max_iter: maximum number of passes over the features for all values, and for the refit.
    """

    c: tuple[PositiveFloat, ...] = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    max_iter: PositiveInt = 300

    def __post_init__(self) -> None:
        if not self.c:
            raise UserError("svm: c must be one or more numbers above 0, got none")

    def __call__(self, task: Task) -> list[dict[str, float]]:
        """``svm/accuracy`` in percent on test and the chosen ``svm/c``, for each target."""
        found = choose_and_score(
            task,
            sorted(self.c),
            lambda splits, c, start: fit(task, splits, c, start, max_iter=self.max_iter),
        )
        return [{"svm/accuracy": one.accuracy, "svm/c": one.regularisation} for one in found]
