"""The data loader of the training images resumes in the middle of an epoch."""

from typing import Any

import pytest
import torch
from torch import Tensor

from ssl_bench.data.loader import TrainingLoader
from ssl_bench.data.sampler import BatchSampler


class Numbers:
    """The batch of some indices is the indices."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, rows: Tensor) -> Tensor:
        return rows


def loader(workers: int) -> TrainingLoader:
    numbers: Any = Numbers()
    sampler = BatchSampler(numbers, 4, seed=1, num_replicas=1, rank=0)
    return TrainingLoader(
        numbers, sampler=sampler, batch_size=None, num_workers=workers, persistent_workers=workers > 0
    )


def epoch(loader: TrainingLoader, number: int) -> list[list[int]]:
    """The batches of an epoch; Lightning creates the iterator before it sets the epoch."""
    iterator: Any = iter(loader)
    loader.sampler.set_epoch(number)
    return [batch.tolist() for batch in iterator]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_epoch_has_the_batches_after_the_checkpoint_and_the_next_epoch_all(workers: int) -> None:
    uninterrupted = loader(0)
    third, fourth = epoch(uninterrupted, 3), epoch(uninterrupted, 4)

    stopped = loader(workers)
    stopped.sampler.set_epoch(3)
    iterator: Any = iter(stopped)
    before = [next(iterator).tolist() for _ in range(4)]  # workers have prefetched more
    state = stopped.state_dict()

    resumed = loader(workers)
    resumed.load_state_dict(state)
    assert len(resumed) == len(uninterrupted) == 10
    assert before + epoch(resumed, 3) == third
    assert epoch(resumed, 4) == fourth


def test_the_length_and_the_order_of_an_epoch_do_not_depend_on_workers() -> None:
    assert epoch(loader(1), 5) == epoch(loader(0), 5)
    assert torch.tensor(epoch(loader(0), 5)).unique().numel() == 40
