"""The training sampler: orders, and the parts of each process."""

import pytest
import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from ssl_bench.data import Digits
from ssl_bench.data.sampler import BatchSampler
from ssl_bench.data.types import Batch
from ssl_bench.errors import UserError


def epoch(
    size: int, batch_size: int, seed: int = 0, number: int = 0, world: int = 1, rank: int = 0, drop_last: bool = True
) -> list[Tensor]:
    sampler = BatchSampler(range(size), batch_size, seed, num_replicas=world, rank=rank, drop_last=drop_last)
    sampler.set_epoch(number)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    assert sum(map(len, batches)) * world == sampler.images
    return batches


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return torch.equal(torch.cat(a), torch.cat(b))


def test_an_epoch_has_full_batches_without_repeated_images() -> None:
    batches = epoch(103, 10)
    assert [len(batch) for batch in batches] == [10] * 10
    assert len(set(torch.cat(batches).tolist())) == 100


def test_the_order_depends_only_on_seed_and_epoch() -> None:
    assert same(epoch(50, 5, seed=1, number=2), epoch(50, 5, seed=1, number=2))
    orders = [epoch(50, 5, seed=seed, number=number) for seed in range(3) for number in range(3)]
    assert not any(same(a, b) for i, a in enumerate(orders) for b in orders[:i])


def test_two_processes_take_the_steps_of_one_with_twice_the_batch_size() -> None:
    shards = [epoch(103, 5, world=2, rank=rank) for rank in range(2)]
    whole = epoch(103, 10)
    assert len(shards[0]) == len(shards[1]) == len(whole)
    for first, second, both in zip(*shards, whole, strict=True):
        assert torch.equal(torch.cat([first, second]), both)


def test_without_drop_last_one_process_uses_every_image() -> None:
    batches = epoch(103, 10, drop_last=False)
    assert [len(batch) for batch in batches] == [10] * 10 + [3]
    assert torch.cat(batches).sort().values.tolist() == list(range(103))
    assert same(batches[:10], epoch(103, 10))


def test_without_drop_last_the_processes_share_the_last_step_equally() -> None:
    shards = [epoch(108, 5, world=2, rank=rank, drop_last=False) for rank in range(2)]
    whole = epoch(108, 10, drop_last=False)
    assert [len(batch) for batch in shards[0]] == [len(batch) for batch in shards[1]] == [5] * 10 + [4]
    for first, second, both in zip(*shards, whole, strict=True):
        assert torch.equal(torch.cat([first, second]), both)


@pytest.mark.parametrize(("size", "world", "last"), [(101, 1, 10), (103, 2, 5), (104, 2, 2), (105, 2, 2), (106, 2, 3)])
def test_a_last_step_of_one_image_for_each_process_is_dropped(size: int, world: int, last: int) -> None:
    assert len(epoch(size, 10 // world, world=world, drop_last=False)[-1]) == last


@pytest.mark.parametrize(("world", "fits"), [(1, "200"), (3, "66")])
@pytest.mark.parametrize("drop_last", [True, False])
def test_a_batch_larger_than_the_data_is_refused_with_the_largest_that_fits(
    world: int, fits: str, drop_last: bool
) -> None:
    given = "--data.batch_size 256" + (" x 3 processes" if world == 3 else "")
    message = f"{given} is more than the 200 training images: give --data.batch_size {fits} or less"
    with pytest.raises(UserError) as error:
        BatchSampler(range(200), 256, num_replicas=world, rank=0, drop_last=drop_last)
    assert str(error.value) == message
    assert epoch(200, int(fits), world=world)


def test_fewer_images_than_processes_are_refused() -> None:
    with pytest.raises(UserError, match=r"4 x 2 processes .* 1 training images: use 1 process or fewer"):
        BatchSampler(range(1), 4, num_replicas=2, rank=0)


class Recorder(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[Tensor] = []

    def training_step(self, batch: Batch, _: int) -> Tensor:
        self.seen.append(batch.ids)
        return self.weight * batch.images.float().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_lightning_sets_the_epoch_of_the_sampler() -> None:
    module, recorder = Digits(batch_size=700, seed=3), Recorder()
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(recorder, module)
    size = len(module.split("train")) + len(module.split("validation"))
    assert same(recorder.seen, epoch(size, 700, seed=3, number=0) + epoch(size, 700, seed=3, number=1))


@pytest.mark.parametrize("images", [100, 37])
def test_limited_pretraining_uses_the_first_images_of_a_fixed_order(images: int) -> None:
    limited, whole = Digits(fit_images=images, batch_size=10, seed=3), Digits()
    for data in (limited, whole):
        data.setup()
    seen = torch.cat([batch.ids for batch in limited.train_dataloader()])
    assert set(seen.tolist()) <= set(whole.fit_order()[:images].tolist())
    assert len(seen) == images // 10 * 10
    assert len(limited.split("train")) == len(whole.split("train"))


@pytest.mark.parametrize("images", [-1, 10**6])
def test_an_invalid_number_of_images_is_refused(images: int) -> None:
    def ids() -> Tensor:
        data = Digits(fit_images=images)
        data.setup()
        return data.fit_ids()

    with pytest.raises(UserError, match="fit_images"):
        ids()
