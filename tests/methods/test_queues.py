"""The queues of the methods that have one: a step on two ranks writes what a step on one writes."""

import pytest
import torch

from ssl_bench import distributed
from ssl_bench.methods.multi_view import MultiView
from ssl_bench.networks.queue import FeatureQueue
from tests.methods.test_contract import tiny, views_of
from tests.ranks import Ranks


def queue_after_a_step(name: str) -> dict[str, torch.Tensor]:
    """Content and position of the queue after a step on this rank's part of 8 images."""
    rank, size = distributed.rank(), distributed.world_size()
    run = tiny(name)
    assert isinstance(run.method, MultiView)
    queue = run.method.queue
    assert isinstance(queue, FeatureQueue)
    batch = views_of(run, 8)
    part = slice(rank * 8 // size, (rank + 1) * 8 // size)
    run.method.eval()  # BatchNorm with fixed statistics
    run.method.training_step(batch._replace(images=batch.images[:, part]), 0)
    run.method.on_after_backward()
    return dict(queue.named_buffers())


@pytest.mark.parametrize("name", ["moco", "nnclr", "swav"])
def test_two_ranks_have_the_queue_of_one(name: str, ranks: Ranks) -> None:
    alone = queue_after_a_step(name)
    assert alone["position"] == 8
    for on_rank in ranks(queue_after_a_step, name):
        torch.testing.assert_close(on_rank, alone, rtol=1e-5, atol=1e-5)
