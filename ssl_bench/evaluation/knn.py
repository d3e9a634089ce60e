"""k nearest neighbours: exact, cosine, majority vote (Wu et al. 2018, arXiv 1805.01978, unweighted)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_bench.errors import UserError
from ssl_bench.evaluation.task import Task, accuracy

CHUNK = 2**25
"""Similarities held at a time: 128 MiB."""


def neighbours(bank: Tensor, queries: Tensor, k: int, chunk: int = CHUNK) -> Tensor:
    """Exact k nearest rows of the bank by cosine similarity.

    Args:
        bank: float ``(N, d)``.
        queries: float ``(Q, d)``.
        k: neighbours of each query, at most N.
        chunk: similarities computed at a time; bounds the memory and changes nothing else.

    Returns:
        int64 ``(Q, k)``, rows of the bank, nearest first. The order among equal similarities is undefined; an
        all-zero feature has similarity 0 to everything.

    Raises:
        UserError: if k is larger than the bank.
    """
    if k > len(bank):
        raise UserError(f"knn: k = {k} neighbours of a bank of {len(bank)} labelled images; give a smaller k")
    unit = F.normalize(bank).T
    rows = max(1, chunk // len(bank))
    return torch.cat([(F.normalize(part) @ unit).topk(k).indices for part in torch.split(queries, rows)])


def vote(labels: Tensor) -> Tensor:
    """Majority class of each row of neighbours' labels ``(Q, k)``, nearest first; ties go to the nearer class.

    Nearer is the class whose nearest member is nearest. (scikit-learn takes the smaller class number.)
    """
    count = (labels.unsqueeze(2) == labels.unsqueeze(1)).sum(2)  # (Q, k): votes for each neighbour's class
    return labels.gather(1, count.argmax(1, keepdim=True)).squeeze(1)  # argmax returns the first maximum


@dataclass(frozen=True)
class KNN:
    """Test images take the majority class of their k nearest among the train and validation features.

    Similarity is cosine on the raw features (not centred), each neighbour has one vote and ties go to the class
    with the nearer member. Every k is reported and none is chosen.

    Args:
        k: numbers of neighbours, each scored as ``knn_<k>``; one search serves them all.
    """

    k: tuple[int, ...] = (1, 5, 20)

    def __post_init__(self) -> None:
        if not self.k or min(self.k) < 1:
            raise UserError(f"knn: k = {list(self.k)}; give one or more numbers of neighbours, each at least 1")

    def __call__(self, task: Task) -> dict[str, float]:
        """``knn_<k>/accuracy`` in percent for every k."""
        most = max(self.k)
        nearest = task.once(
            f"{most} neighbours",
            lambda: neighbours(torch.cat([task.train_x, task.validation_x]), task.test_x, most),
        )
        labels = task.fitting_y()[nearest]
        return {f"knn_{k}/accuracy": accuracy(vote(labels[:, :k]), task.test_y) for k in self.k}
