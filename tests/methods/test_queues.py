"""Queues, teachers and centres: a step on two ranks changes them as a step on one rank does."""

import pytest
import torch
from torch import nn

from ssl_bench import distributed
from ssl_bench.methods.dino import DINO
from ssl_bench.methods.momentum_teacher import MomentumTeacher
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


def teacher_after_a_step(name: str) -> dict[str, torch.Tensor]:
    """The teacher, with the centre of DINO, after a step of the optimizer on this rank's part of 8 images."""
    rank, size = distributed.rank(), distributed.world_size()
    run = tiny(name)
    method = run.method
    assert isinstance(method, MomentumTeacher)
    batch = views_of(run, 8)
    part = slice(rank * 8 // size, (rank + 1) * 8 // size)
    for module in method.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    method.training_step(batch._replace(images=batch.images[:, part]), 0).backward()
    trained = [parameter for parameter in method.parameters() if parameter.grad is not None]
    distributed.average_gradients(trained)
    method.on_after_backward()
    torch.optim.SGD(trained, lr=0.1).step()
    method.update_teacher(0.5)
    centre = {"centre": method.center} if isinstance(method, DINO) else {}
    return {f"teacher.{key}": value for key, value in method.teacher.state_dict().items()} | centre


@pytest.mark.parametrize("name", ["byol", "moco", "dino"])
def test_two_ranks_have_the_teacher_of_one(name: str, ranks: Ranks) -> None:
    method = tiny(name).method
    assert isinstance(method, MomentumTeacher)
    alone, before = teacher_after_a_step(name), method.teacher.state_dict()
    assert any(not torch.equal(alone[f"teacher.{key}"], value) for key, value in before.items())
    for on_rank in ranks(teacher_after_a_step, name):
        torch.testing.assert_close(on_rank, alone, rtol=1e-5, atol=1e-5)
