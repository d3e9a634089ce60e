"""SwAV's codes and loss against their equations in numpy, alone and on two ranks."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_bench import distributed
from ssl_bench.losses.swav import codes, sinkhorn, swapped_prediction
from tests.ranks import Ranks

N, K, D = 12, 4, 5


def unit_vectors(*shape: int, seed: int = 0) -> Tensor:
    z = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return F.normalize(z, dim=-1)


def scores_of(*shape: int, seed: int = 0) -> Tensor:
    return unit_vectors(*shape, D, seed=seed) @ unit_vectors(K, D, seed=9).T


def test_codes_of_images_sum_to_one_and_prototypes_are_used_equally() -> None:
    q = sinkhorn(scores_of(N), iterations=200)
    torch.testing.assert_close(q.sum(1), torch.ones(N, dtype=torch.float64))
    torch.testing.assert_close(q.sum(0), torch.full((K,), N / K, dtype=torch.float64))


def test_codes_are_the_kernel_with_scaled_rows_and_columns() -> None:
    scores = scores_of(N)
    q = np.exp(scores.numpy() / 0.05).T
    q /= q.sum()
    for _ in range(3):
        q /= q.sum(1, keepdims=True) * K
        q /= q.sum(0, keepdims=True) * N
    np.testing.assert_allclose(sinkhorn(scores).numpy(), q.T * N)


def test_codes_are_finite_at_a_small_epsilon() -> None:
    q = sinkhorn(scores_of(N).float(), epsilon=1e-3)
    torch.testing.assert_close(q.sum(1), torch.ones(N))


def test_a_view_predicts_the_codes_of_the_other_views() -> None:
    scores, q = scores_of(3, N), scores_of(2, N, seed=1).softmax(2)
    p = np.exp(scores.numpy() / 0.1)
    p /= p.sum(2, keepdims=True)
    terms = [-(q[s].numpy() * np.log(p[t])).sum(1).mean() for s in range(2) for t in range(3) if t != s]
    assert swapped_prediction(scores, q).item() == pytest.approx(np.mean(terms))


def test_queued_images_change_the_codes_and_have_none() -> None:
    queued = scores_of(20, seed=2)
    q = codes(scores_of(N), queued)
    assert q.shape == (N, K)
    torch.testing.assert_close(q, sinkhorn(torch.cat([scores_of(N), queued]))[:N])


def of_a_share(with_queue: bool) -> list[Tensor]:
    """The loss of this rank's images, and gradients averaged over ranks as DistributedDataParallel does."""
    rank, size = distributed.rank(), distributed.world_size()
    c = unit_vectors(K, D, seed=9).requires_grad_()
    scores = unit_vectors(2, N, D)[:, rank * N // size : (rank + 1) * N // size] @ c.T
    queued = scores_of(6, seed=2) if with_queue else None
    value = swapped_prediction(scores, torch.stack([codes(view, queued) for view in scores]))
    value.backward()
    distributed.average_gradients([c])
    return [distributed.all_reduce_sum(value) / size, c.grad]  # type: ignore[list-item]


@pytest.mark.parametrize("with_queue", [False, True])
def test_two_ranks_equal_one_gradients_included(with_queue: bool, ranks: Ranks) -> None:
    alone = of_a_share(with_queue)
    for on_rank in ranks(of_a_share, with_queue):
        torch.testing.assert_close(on_rank, alone, rtol=1e-5, atol=1e-5)
