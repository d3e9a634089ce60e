"""Collectives on two real gloo processes."""

import torch
from torch import distributed

from ssl_bench.distributed import all_reduce_min
from tests.ranks import Ranks


def minimum_on_rank() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.tensor([1, 4]) if distributed.get_rank() == 0 else torch.tensor([3, 2])
    return all_reduce_min(x), x


def test_minimum_is_over_all_ranks_and_leaves_its_argument_alone(ranks: Ranks) -> None:
    (first, x), (second, _) = ranks(minimum_on_rank)
    assert first.tolist() == second.tolist() == [1, 2]
    assert x.tolist() == [1, 4]


def test_in_one_process_the_minimum_is_what_was_given() -> None:
    assert all_reduce_min(torch.tensor(7)).item() == 7
