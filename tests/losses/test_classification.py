"""Cross-entropy of labels, of which some are missing."""

import torch
from torch import Tensor

from ssl_bench import distributed
from ssl_bench.losses.classification import cross_entropy
from tests.ranks import Ranks

LABELS = torch.tensor([[0, 2], [1, -1], [-1, 1], [-1, -1], [-1, 0], [1, -1]])
"""Of two targets; the first half has four labels, the second half two."""


def logits() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(6, classes, dtype=torch.float64, generator=generator) for classes in (2, 3)]


def test_it_is_the_mean_over_the_labels_that_there_are() -> None:
    x = logits()
    terms = [-x[t][i].log_softmax(0)[y] for i, row in enumerate(LABELS) for t, y in enumerate(row) if y >= 0]
    assert len(terms) == 6
    torch.testing.assert_close(cross_entropy(x, LABELS), torch.stack(terms).mean())


def test_without_labels_it_is_zero_with_gradient() -> None:
    x = [part.requires_grad_() for part in logits()]
    loss = cross_entropy(x, torch.full((6, 2), -1))
    loss.backward()
    assert loss == 0
    assert x[0].grad is not None
    assert (x[0].grad == 0).all()


def of_a_share() -> list[Tensor]:
    """The loss of this rank's images, and gradients averaged over ranks as DistributedDataParallel does."""
    rank, size = distributed.rank(), distributed.world_size()
    part = slice(rank * 6 // size, (rank + 1) * 6 // size)
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    value = cross_entropy([x[part] * weight for x in logits()], LABELS[part])
    value.backward()
    distributed.average_gradients([weight])
    return [distributed.all_reduce_sum(value) / size, weight.grad]  # type: ignore[list-item]


def test_two_ranks_with_different_numbers_of_labels_equal_one(ranks: Ranks) -> None:
    alone = of_a_share()
    for on_rank in ranks(of_a_share):
        torch.testing.assert_close(on_rank, alone, rtol=1e-5, atol=1e-5)
