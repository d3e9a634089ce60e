"""DINO's equations against double loops over images, alone and on two ranks."""

import pytest
import torch
from torch import Tensor

from ssl_bench import distributed
from ssl_bench.losses.dino import dino, mean_output, teacher_distribution
from tests.ranks import Ranks

TAU_S, TAU_T = 0.1, 0.05


def outputs(views: int, n: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(views, n, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) / 5


def dino_by_loops(s: Tensor, t: Tensor, c: Tensor) -> Tensor:
    terms = []
    for target in range(len(t)):
        for view in range(len(s)):
            for i in range(s.shape[1]):
                if view != target:
                    p_t = ((t[target, i] - c) / TAU_T).exp()
                    p_s = (s[view, i] / TAU_S).exp()
                    terms.append(-((p_t / p_t.sum()) @ (p_s / p_s.sum()).log()))
    return torch.stack(terms).mean()


@pytest.mark.parametrize(("views", "targets"), [(2, 2), (5, 2), (2, 1)])
def test_every_view_of_the_student_predicts_the_teachers_other_views(views: int, targets: int) -> None:
    s, t = outputs(views), outputs(targets, seed=1)
    c = t.mean((0, 1))
    p_t = teacher_distribution(t, c, TAU_T)
    torch.testing.assert_close(dino(s, p_t, TAU_S), dino_by_loops(s, t, c))


def test_no_gradient_flows_to_the_teacher() -> None:
    t = outputs(2).requires_grad_()
    assert not teacher_distribution(t, t.new_zeros(5), TAU_T).requires_grad


def on_this_rank() -> tuple[Tensor, Tensor]:
    """Gradient of the loss of this rank's images, and the mean output of all images."""
    s, t = outputs(4, n=8), outputs(2, n=8, seed=1)
    s.requires_grad_()
    own = distributed.share(8)
    dino(s[:, own], teacher_distribution(t[:, own], t.mean((0, 1)), TAU_T), TAU_S).backward()
    distributed.average_gradients([s])
    assert s.grad is not None
    return s.grad, mean_output(t[:, own])


def test_two_ranks_equal_one(ranks: Ranks) -> None:
    gradient, mean = on_this_rank()
    torch.testing.assert_close(mean, outputs(2, n=8, seed=1).mean((0, 1)))
    for rank_gradient, rank_mean in ranks(on_this_rank):
        torch.testing.assert_close(rank_gradient, gradient)
        torch.testing.assert_close(rank_mean, mean)
