"""Losses of several views against double loops over images, alone and on two ranks."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_bench import distributed
from ssl_bench.losses.contrastive import (
    alignment,
    byol,
    info_nce,
    moco,
    nearest,
    negative_cosine,
    neighbour_contrast,
    nt_xent,
    simsiam,
    simsiam_alignment,
)
from tests.ranks import Ranks

TEMPERATURE = 0.5


def embeddings(views: int = 2, n: int = 6, dim: int = 5, seed: int = 0) -> Tensor:
    z = torch.randn(views, n, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return F.normalize(z, dim=2)


def info_nce_by_loops(z: Tensor) -> Tensor:
    losses = []
    for one, other in ((z[0], z[1]), (z[1], z[0])):
        for i in range(len(one)):
            among = sum(math.exp(one[i] @ other[a] / TEMPERATURE) for a in range(len(other)))
            losses.append(-math.log(math.exp(one[i] @ other[i] / TEMPERATURE) / among))
    return torch.tensor(sum(losses) / len(losses), dtype=z.dtype)


def nt_xent_by_loops(z: Tensor) -> Tensor:
    each = [(view, i) for view in range(z.shape[0]) for i in range(z.shape[1])]
    losses = []
    for a in each:
        among = sum(math.exp(z[a] @ z[b] / TEMPERATURE) for b in each if b != a)
        positives = [b for b in each if b[1] == a[1] and b != a]
        losses.append(-sum(math.log(math.exp(z[a] @ z[p] / TEMPERATURE) / among) for p in positives) / len(positives))
    return torch.tensor(sum(losses) / len(losses), dtype=z.dtype)


def alignment_by_loops(anchors: Tensor, positives: Tensor) -> Tensor:
    total, n = 0.0, anchors.shape[1]
    for view in range(len(anchors)):
        for i in range(n):
            total += sum(float(anchors[view, i] @ p[i]) for p in positives) / len(positives) / TEMPERATURE
    return torch.tensor(total / (len(anchors) * n), dtype=anchors.dtype)


def test_info_nce_has_negatives_of_the_other_view_only() -> None:
    z = embeddings()
    torch.testing.assert_close(info_nce(z, TEMPERATURE), info_nce_by_loops(z))


@pytest.mark.parametrize("views", [2, 3, 5])
def test_nt_xent_tells_each_view_from_all_others_and_averages_over_its_positives(views: int) -> None:
    z = embeddings(views)
    torch.testing.assert_close(nt_xent(z, TEMPERATURE), nt_xent_by_loops(z))


@pytest.mark.parametrize("further", [1, 8])
def test_alignment_is_the_mean_cosine_of_both_expert_views_with_every_further_one(further: int) -> None:
    anchors, positives = embeddings(2), embeddings(further, seed=1)
    torch.testing.assert_close(alignment(anchors, positives, TEMPERATURE), alignment_by_loops(anchors, positives))


def test_simsiam_predicts_each_view_from_the_other() -> None:
    p, z = 3 * embeddings(seed=1), 2 * embeddings()
    pairs = [(p[0, i], z[1, i]) for i in range(6)] + [(p[1, i], z[0, i]) for i in range(6)]
    torch.testing.assert_close(simsiam(p, z), -sum(a @ b / (a.norm() * b.norm()) for a, b in pairs) / 12)


def test_byol_is_the_squared_distance_of_normalised_vectors_added_over_directions() -> None:
    p, z = embeddings(seed=1), embeddings()
    distances = [((p[0, i] - z[1, i]) ** 2).sum() + ((p[1, i] - z[0, i]) ** 2).sum() for i in range(6)]
    torch.testing.assert_close(byol(3 * p, 2 * z), sum(distances) / 6)


def test_moco_contrasts_a_query_with_its_key_and_the_queue() -> None:
    q, k, queue = *embeddings(), embeddings(1, 9, seed=1)[0]
    terms = []
    for i in range(6):
        among = [math.exp(q[i] @ key / TEMPERATURE) for key in (k[i], *queue)]
        terms.append(-math.log(among[0] / sum(among)))
    assert moco(q, k, queue, TEMPERATURE).item() == pytest.approx(sum(terms) / 6)


def test_nearest_is_the_row_of_the_largest_cosine() -> None:
    queue = embeddings(1, 9)[0]
    assert torch.equal(nearest(queue[[4, 0, 8]], queue), queue[[4, 0, 8]])


def test_a_neighbour_is_contrasted_with_the_predictions_of_all_images() -> None:
    neighbours, p = embeddings()
    terms = []
    for i in range(6):
        among = [math.exp(neighbours[i] @ p[j] / TEMPERATURE) for j in range(6)]
        terms.append(-math.log(among[i] / sum(among)))
    assert neighbour_contrast(neighbours, p, TEMPERATURE).item() == pytest.approx(sum(terms) / 6)


@pytest.mark.parametrize(
    "loss", [byol, lambda p, z: moco(p[0], z[0], z[1], 0.5), lambda p, z: neighbour_contrast(z[0], p[0], 0.5)]
)
def test_no_gradient_goes_to_targets_keys_and_neighbours(loss: Callable[..., Tensor]) -> None:
    p, z = embeddings(seed=1).requires_grad_(), embeddings().requires_grad_()
    loss(p, z).backward()
    assert p.grad is not None
    assert z.grad is None


def test_further_views_predict_both_expert_ones() -> None:
    p, z = embeddings(3, seed=1), embeddings(2)
    expected = -sum(p[k, i] @ z[v, i] for k in range(3) for v in range(2) for i in range(6)) / 36
    torch.testing.assert_close(simsiam_alignment(p, z), expected)


def test_no_gradient_goes_to_what_is_predicted() -> None:
    p, z = embeddings(seed=1).requires_grad_(), embeddings().requires_grad_()
    negative_cosine(p, z).backward()
    assert p.grad is not None
    assert z.grad is None


def of_a_share(loss: Callable[..., Tensor], *given: Tensor) -> list[Tensor]:
    """The loss of this rank's images, and gradients averaged over ranks as DistributedDataParallel does."""
    rank, size = distributed.rank(), distributed.world_size()
    weight = torch.eye(given[0].shape[-1], dtype=torch.float64).requires_grad_()
    part = slice(rank * given[0].shape[1] // size, (rank + 1) * given[0].shape[1] // size)
    value = loss(*(F.normalize(z[:, part] @ weight, dim=2) for z in given))
    value.backward()
    distributed.average_gradients([weight])
    return [distributed.all_reduce_sum(value) / size, weight.grad]  # type: ignore[list-item]


def info_nce_of(z: Tensor) -> Tensor:
    return info_nce(z, TEMPERATURE)


def nt_xent_of(z: Tensor) -> Tensor:
    return nt_xent(z, TEMPERATURE)


def a2_of(z: Tensor, further: Tensor) -> Tensor:
    return info_nce(z, TEMPERATURE) - 0.5 * alignment(z, further, TEMPERATURE)


def a2_simsiam_of(z: Tensor, further: Tensor) -> Tensor:
    return simsiam(z.roll(1, 2), z) + 0.5 * simsiam_alignment(further, z)


def byol_of(z: Tensor) -> Tensor:
    return byol(z.roll(1, 2), z)


def moco_of(z: Tensor) -> Tensor:
    return moco(z[0], z[1], embeddings(1, 9, seed=1)[0], TEMPERATURE)


def neighbour_contrast_of(z: Tensor) -> Tensor:
    return neighbour_contrast(z[0], z[1], TEMPERATURE)


@pytest.mark.parametrize(
    ("loss", "given"),
    [
        (info_nce_of, [embeddings()]),
        (nt_xent_of, [embeddings()]),
        (nt_xent_of, [embeddings(4)]),
        (byol_of, [embeddings()]),
        (moco_of, [embeddings()]),
        (neighbour_contrast_of, [embeddings()]),
        (a2_of, [embeddings(), embeddings(3, seed=1)]),
        (a2_simsiam_of, [embeddings(), embeddings(3, seed=1)]),
    ],
    ids=["info_nce", "nt_xent", "a2_full", "byol", "moco", "neighbour_contrast", "a2", "a2_simsiam"],
)
def test_two_ranks_equal_one_gradients_included(loss: Callable[..., Tensor], given: list[Tensor], ranks: Ranks) -> None:
    alone = of_a_share(loss, *given)
    for on_rank in ranks(of_a_share, loss, *given):
        torch.testing.assert_close(on_rank, alone)
