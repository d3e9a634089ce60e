"""Collectives on real gloo processes."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, distributed

from ssl_bench.distributed import (
    all_gather,
    all_reduce_min,
    all_reduce_sum,
    average_gradients,
    barrier,
    gather,
    gather_rows,
    share,
    share_out,
    world_size,
)
from ssl_bench.errors import UserError
from tests.ranks import Ranks

COLLECTIVES: dict[Callable[[Tensor], Tensor], list[Any]] = {  # of [0, 10] on rank 0, [1, 9] on rank 1, ...
    all_reduce_min: [0, 8],
    all_reduce_sum: [3, 27],
    all_gather: [[0, 10], [1, 9], [2, 8]],
    gather: [0, 10, 1, 9, 2, 8],
    gather_rows: [0, 10, 1, 9, 2, 8],
}


def on_rank(collective: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    rank = distributed.get_rank()
    x = torch.tensor([rank, 10 - rank])
    return collective(x), x


@pytest.mark.parametrize("collective", COLLECTIVES)
def test_every_rank_has_the_same_and_keeps_its_argument(ranks: Ranks, collective: Callable[[Tensor], Tensor]) -> None:
    for rank, (result, x) in enumerate(ranks(on_rank, collective, size=3)):
        assert result.tolist() == COLLECTIVES[collective]
        assert x.tolist() == [rank, 10 - rank]


@pytest.mark.parametrize("collective", [all_reduce_min, all_reduce_sum, gather, gather_rows])
def test_in_a_process_of_its_own_each_is_the_identity(collective: Callable[[Tensor], Tensor]) -> None:
    assert collective(torch.tensor([3, 4])).tolist() == [3, 4]


def reduced_layouts() -> list[bool]:
    """Whether what a collective is handed lies in one piece, as NCCL asks and gloo does not."""
    seen: list[bool] = []
    reduce = distributed.all_reduce

    def spy(x: Tensor, *given: Any) -> None:
        seen.append(x.is_contiguous())
        reduce(x, *given)

    patch = pytest.MonkeyPatch()
    patch.setattr(distributed, "all_reduce", spy)
    x = torch.ones(2, 3, requires_grad=True)
    (gather(x).T * torch.arange(4)).T.sum().backward()
    all_reduce_min(torch.ones(2, 3).T)
    patch.undo()
    return seen


def test_what_is_reduced_lies_in_one_piece(ranks: Ranks) -> None:
    assert ranks(reduced_layouts) == [[True, True]] * 2


def uneven_rows() -> Tensor:
    rank = distributed.get_rank()
    return gather_rows(torch.full((rank, 2), float(rank)))


def test_rows_may_be_uneven_and_none(ranks: Ranks) -> None:
    for rows in ranks(uneven_rows, size=3):
        assert rows.tolist() == [[1, 1], [2, 2], [2, 2]]


def gradient_of_all_pairs(rows: Tensor) -> Tensor:
    """Of a loss that no rank can compute from its own rows, with respect to a weight that every rank has."""
    weight = torch.tensor([1.0, 2.0], requires_grad=True)
    z = gather(rows.chunk(world_size())[share(world_size())[0]] * weight)
    (z @ z.T).sin().mean().backward()
    average_gradients([weight, torch.zeros(1, requires_grad=True)])
    assert weight.grad is not None
    return weight.grad


def test_gathered_rows_carry_the_gradient_of_one_process(ranks: Ranks) -> None:
    rows = torch.arange(12.0).view(6, 2)
    for gradient in ranks(gradient_of_all_pairs, rows, size=3):
        torch.testing.assert_close(gradient, gradient_of_all_pairs(rows))


def my_share(count: int) -> list[int]:
    return list(share(count))


@pytest.mark.parametrize("count", [0, 2, 3, 10])
def test_shares_are_contiguous_and_as_even_as_can_be(ranks: Ranks, count: int) -> None:
    parts = ranks(my_share, count, size=3)
    assert [i for part in parts for i in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def square(number: int) -> tuple[int, int]:
    if number == 3:
        raise UserError("three is refused")
    return number**2, distributed.get_rank()


def squares(count: int) -> list[tuple[int, int]] | str:
    try:
        return share_out([partial(square, number) for number in range(count)])
    except UserError as error:
        return str(error)


def test_jobs_are_each_done_by_one_rank_and_all_have_their_results(ranks: Ranks) -> None:
    assert ranks(squares, 3, size=2) == [[(0, 0), (1, 1), (4, 0)]] * 2


def test_an_error_of_one_job_is_raised_on_every_rank(ranks: Ranks) -> None:
    assert ranks(squares, 4, size=2) == ["three is refused"] * 2


def test_the_barrier_of_one_process_is_open() -> None:
    barrier()
