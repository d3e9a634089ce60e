"""The queue of features against a double-ended queue of rows."""

from collections import deque

import pytest
import torch
from torch import Tensor

from ssl_bench.errors import UserError
from ssl_bench.networks.queue import FeatureQueue


def rows(n: int, start: int = 0) -> dict[str, Tensor]:
    """n rows that are told apart by their number, keys and values of a row by their sign."""
    numbers = torch.arange(start, start + n, dtype=torch.float32)[:, None]
    return {"keys": numbers.expand(n, 3), "values": -numbers.expand(n, 2)}


def content(queue: FeatureQueue) -> list[float]:
    """Numbers of the rows held, from the oldest; keys and values must agree."""
    keys, values = queue["keys"], queue["values"]
    assert torch.equal(keys[:, 0], -values[:, 0])
    return torch.roll(keys[:, 0], -int(queue.position)).tolist()


@pytest.mark.parametrize("batches", [(2, 2, 2), (7, 7), (3, 5, 1, 7, 2, 6), (1,) * 20])
def test_newest_rows_stay_whatever_the_batches(batches: tuple[int, ...]) -> None:
    queue, expected = FeatureQueue(7, keys=3, values=2), deque[float](maxlen=7)
    queue.enqueue(**rows(7, start=-7))
    expected.extend(range(-7, 0))
    start = 0
    for n in batches:
        queue.enqueue(**rows(n, start))
        expected.extend(range(start, start + n))
        start += n
        assert content(queue) == list(expected)


def test_queue_starts_with_unit_vectors() -> None:
    queue = FeatureQueue(50, keys=3, values=8)
    for name, dim in (("keys", 3), ("values", 8)):
        assert queue[name].shape == (50, dim)
        torch.testing.assert_close(queue[name].norm(dim=1), torch.ones(50))


def test_queue_goes_on_from_a_checkpoint() -> None:
    queue, resumed = FeatureQueue(7, keys=3, values=2), FeatureQueue(7, keys=3, values=2)
    queue.enqueue(**rows(5))
    resumed.load_state_dict(queue.state_dict())
    for each in (queue, resumed):
        each.enqueue(**rows(4, start=5))
    assert torch.equal(queue["keys"], resumed["keys"])
    assert torch.equal(queue["values"], resumed["values"])
    assert content(resumed) == [2, 3, 4, 5, 6, 7, 8]


def test_rows_enter_without_gradient_in_float32() -> None:
    queue = FeatureQueue(4, keys=3, values=2)
    keys = torch.rand(2, 3, dtype=torch.bfloat16, requires_grad=True)
    queue.enqueue(keys=2 * keys, values=torch.zeros(2, 2, dtype=torch.float64))
    for name in ("keys", "values"):
        assert queue[name].dtype == torch.float32
        assert not queue[name].requires_grad
    torch.testing.assert_close(queue["keys"][:2], 2 * keys.detach().float())


def test_batch_longer_than_the_queue_is_refused() -> None:
    with pytest.raises(UserError, match="queue of 7 features is shorter than the batch of 8 that enters it; give"):
        FeatureQueue(7, keys=3, values=2).enqueue(**rows(8))


def test_a_batch_of_all_processes_that_is_longer_than_the_queue_is_refused_before_training() -> None:
    queue = FeatureQueue(8, keys=3)
    queue.check_fits(4, 2, "MoCo")
    with pytest.raises(UserError, match="MoCo: a queue of 8 is shorter than the batch of 10 images in 2 processes"):
        queue.check_fits(5, 2, "MoCo")


def test_features_that_belong_together_enter_together() -> None:
    with pytest.raises(TypeError, match="holds keys, values, not keys"):
        FeatureQueue(7, keys=3, values=2).enqueue(keys=torch.zeros(1, 3))
