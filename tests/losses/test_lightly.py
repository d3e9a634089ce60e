"""Losses against those of lightly on the same embeddings: values and gradients, in one process and on two ranks.

These losses of lightly are compared in one process only:

- Barlow Twins: each rank normalises by the mean and variance of its own batch, so two ranks have another loss than one.
- MoCo, SwAV with a queue, and the neighbours of NNCLR: lightly has a queue of its own on every rank, and gathers its
  rows in MoCo only. Here all ranks have the same queue.
- BYOL and SimSiam: there is no communication between ranks.

NNCLR's loss is not compared: lightly has NT-Xent of neighbours and predictions, which is not Eq. 3 of the paper.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from lightly.loss import BarlowTwinsLoss, DINOLoss, NegativeCosineSimilarity, NTXentLoss, SwaVLoss, VICRegLoss
from lightly.models.modules import NNMemoryBankModule
from torch import Tensor
from torch.nn import functional as F

from ssl_bench import distributed
from ssl_bench.losses.contrastive import byol, moco, nearest, nt_xent, simsiam
from ssl_bench.losses.dino import dino, mean_output, teacher_distribution
from ssl_bench.losses.redundancy import barlow_twins, covariance, invariance, variance
from ssl_bench.losses.swav import codes, swapped_prediction
from tests.ranks import Ranks

V, N, D = 3, 12, 5


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


QUEUE = F.normalize(normal(20, D, seed=1), dim=1)
PROTOTYPES = F.normalize(normal(7, D, seed=2), dim=1)


def our_vicreg(z: Tensor) -> Tensor:
    """lightly takes the mean of the variance terms of both views, as the released code; the paper has their sum."""
    terms = 25 * invariance(z[0], z[1]), 12.5 * (variance(z[0]) + variance(z[1])), covariance(z[0]) + covariance(z[1])
    return torch.stack(terms).sum()


def lightly_vicreg(z: Tensor) -> Any:
    return VICRegLoss(gather_distributed=True)(z[0], z[1])


def our_barlow_twins(z: Tensor) -> Tensor:
    return barlow_twins(z[0], z[1], 0.02)


def lightly_barlow_twins(z: Tensor) -> Any:
    return BarlowTwinsLoss(0.02)(z[0], z[1])


def our_nt_xent(z: Tensor) -> Tensor:
    return nt_xent(F.normalize(z[:2], dim=2), 0.3)


def lightly_nt_xent(z: Tensor) -> Any:
    return NTXentLoss(0.3, gather_distributed=True)(z[0], z[1])


def our_moco(z: Tensor) -> Tensor:
    q, k = F.normalize(z[:2], dim=2)
    return moco(q, k, QUEUE, 0.3)


def lightly_moco(z: Tensor) -> Any:
    loss = NTXentLoss(0.3, memory_bank_size=QUEUE.shape)
    loss.memory_bank.bank = QUEUE.clone()
    return loss(z[0], z[1].detach())


def our_swav(z: Tensor) -> Tensor:
    scores = F.normalize(z, dim=2) @ PROTOTYPES.T
    return swapped_prediction(scores, torch.stack([codes(view) for view in scores[:2]]))


def lightly_swav(z: Tensor) -> Any:
    first, second, third = F.normalize(z, dim=2) @ PROTOTYPES.T
    return SwaVLoss(sinkhorn_gather_distributed=True)([first, second], [third]).squeeze()


def our_swav_with_queue(z: Tensor) -> Tensor:
    scores, queued = F.normalize(z, dim=2) @ PROTOTYPES.T, QUEUE @ PROTOTYPES.T
    return swapped_prediction(scores, torch.stack([codes(view, queued) for view in scores[:2]]))


def lightly_swav_with_queue(z: Tensor) -> Any:
    first, second, third = F.normalize(z, dim=2) @ PROTOTYPES.T
    return SwaVLoss()([first, second], [third], [QUEUE @ PROTOTYPES.T] * 2).squeeze()


def our_byol(z: Tensor) -> Tensor:
    return byol(z[:2], z[1:])


def lightly_byol(z: Tensor) -> Any:
    """||p - z||^2 is 2 - 2 cos(p, z)."""
    cosine, targets = NegativeCosineSimilarity(), z[1:].detach()
    return 4 + 2 * (cosine(z[0], targets[1]) + cosine(z[1], targets[0]))


def our_simsiam(z: Tensor) -> Tensor:
    return simsiam(z[:2], z[1:])


def lightly_simsiam(z: Tensor) -> Any:
    cosine, targets = NegativeCosineSimilarity(), z[1:].detach()
    return (cosine(z[0], targets[1]) + cosine(z[1], targets[0])) / 2


def our_dino(z: Tensor) -> Tensor:
    """Two steps: the centre of the second is the mean of the teacher's outputs in the first."""
    center, losses = torch.zeros(D, dtype=z.dtype), []
    for teacher in (z[:2].flip(2), z[:2].square()):
        losses.append(dino(z, teacher_distribution(teacher, center, 0.07), 0.1))
        center = center.lerp(mean_output(teacher), 0.1)
    return torch.stack(losses).sum()


def lightly_dino(z: Tensor) -> Any:
    loss = DINOLoss(D, teacher_temp=0.07)
    steps = (z[:2].flip(2), z[:2].square())
    return sum(loss(list(teacher.detach()), list(z), teacher_temp=0.07) for teacher in steps)


class Pair(NamedTuple):
    """The same loss of both libraries, given embeddings of three views of this rank's images, ``(V, N, D)``."""

    ours: Callable[[Tensor], Tensor]
    theirs: Callable[[Tensor], Tensor]


ON_RANKS = {
    "vicreg": Pair(our_vicreg, lightly_vicreg),
    "nt_xent": Pair(our_nt_xent, lightly_nt_xent),
    "swav": Pair(our_swav, lightly_swav),
    "dino": Pair(our_dino, lightly_dino),
}
"""Losses that lightly computes over the images of all ranks."""
ALL = ON_RANKS | {
    "barlow_twins": Pair(our_barlow_twins, lightly_barlow_twins),
    "moco": Pair(our_moco, lightly_moco),
    "swav_with_queue": Pair(our_swav_with_queue, lightly_swav_with_queue),
    "byol": Pair(our_byol, lightly_byol),
    "simsiam": Pair(our_simsiam, lightly_simsiam),
}


def value_and_gradient(loss: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """The loss of this rank's images, a mean over ranks, and the gradient of all embeddings, as DDP averages it."""
    rank, size = distributed.rank(), distributed.world_size()
    z = normal(V, N, D, seed=3).requires_grad_()
    value = loss(z[:, rank * N // size : (rank + 1) * N // size])
    value.backward()
    distributed.average_gradients([z])
    assert z.grad is not None
    assert z.grad.norm() > 0
    return [distributed.all_reduce_sum(value) / size, z.grad]


@pytest.mark.parametrize("name", ALL)
def test_value_and_gradients_are_those_of_lightly(name: str) -> None:
    ours, theirs = ALL[name]
    torch.testing.assert_close(value_and_gradient(ours), value_and_gradient(theirs))


@pytest.mark.parametrize("name", ON_RANKS)
def test_value_and_gradients_on_two_ranks_are_those_of_lightly(name: str, ranks: Ranks) -> None:
    ours, theirs = ON_RANKS[name]
    expected = value_and_gradient(ours)
    for on_rank in (*ranks(value_and_gradient, ours), *ranks(value_and_gradient, theirs)):
        torch.testing.assert_close(on_rank, expected)


def test_neighbours_are_those_of_lightly() -> None:
    bank = NNMemoryBankModule(size=QUEUE.shape)
    bank.bank = QUEUE.clone()
    z = F.normalize(normal(N, D, seed=3), dim=1)
    torch.testing.assert_close(nearest(z, QUEUE), bank(z))
