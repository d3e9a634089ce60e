"""The contract of every data set, on tiny files in its real format."""

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch

from ssl_bench.data.module import DataModule
from ssl_bench.data.types import Split

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
# Every image of the samples has one grey value that encodes its label; these two data sets have real images.
REAL = ("digits", "double_spiral")


def all_of(module: DataModule, split: Split) -> Any:
    images = module.split(split)
    return images[torch.arange(len(images))]


def first_target(labels: torch.Tensor) -> torch.Tensor:
    return labels if labels.dim() == 1 else labels[:, 0]


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_has_images_of_the_stated_shape(module: DataModule, split: Split) -> None:
    batch = all_of(module, split)
    assert batch.images.shape == (len(module.split(split)), *module.image_shape)
    assert batch.images.dtype == (torch.float32 if module.name == "double_spiral" else torch.uint8)
    assert batch.labels.dtype == batch.ids.dtype == torch.int64
    assert torch.equal(batch.labels, module.split(split).labels)


def test_statistics_have_a_value_for_each_channel(module: DataModule) -> None:
    assert len(module.mean) == len(module.std) == module.image_shape[0]


def test_an_image_has_its_own_label(module: DataModule) -> None:
    if module.name in REAL:
        return
    for split in SPLITS:
        batch = all_of(module, split)
        expected = 20.0 * (batch.labels + 1)
        if module.name.startswith("imagenet1"):  # the sample's greys count all of its classes
            names = sorted(module.targets[0].classes)
            offset = 1 if module.name == "imagenet10" else 0
            ranks = torch.tensor([names.index(name) + offset for name in module.targets[0].classes])
            expected = 20.0 * (ranks[batch.labels] + 1)
        assert torch.allclose(batch.images.float().mean(dim=(1, 2, 3)), expected, atol=2)


def test_splits_are_disjoint_and_not_empty(module: DataModule) -> None:
    rows = {split: set(module.split(split).rows.tolist()) for split in SPLITS}
    assert all(rows.values())
    assert not any(a & b for a, b in combinations(rows.values(), 2))


def test_validation_has_every_class_of_train(module: DataModule) -> None:
    train, validation = (first_target(module.split(split).labels) for split in SPLITS[:2])
    assert set(train.tolist()) == set(validation.tolist())


def test_labels_are_classes_of_the_targets(module: DataModule) -> None:
    for split in SPLITS:
        labels = module.split(split).labels
        columns = labels.unsqueeze(1) if labels.dim() == 1 else labels
        assert columns.shape[1] == len(module.targets)
        for target, column in zip(module.targets, columns.unbind(1), strict=True):
            assert column.min() >= -1
            assert column.max() < len(target.classes)


def test_order_is_reproducible(module: DataModule, root: Path) -> None:
    again = type(module).__new__(type(module))
    again.__dict__.update(module.__dict__, _contents=None, _sets={})
    again.setup()
    for split in SPLITS:
        assert torch.equal(all_of(module, split).images, all_of(again, split).images)


def test_training_sees_train_and_validation_images_once_an_epoch(module: DataModule) -> None:
    module.batch_size = 1
    ids = torch.cat([batch.ids for batch in module.train_dataloader()])
    assert torch.equal(ids.sort().values, torch.arange(len(module.split("train")) + len(module.split("validation"))))


def test_training_has_no_label_of_a_validation_image(module: DataModule) -> None:
    module.batch_size = 1
    labels = torch.cat([batch.labels for batch in sorted(module.train_dataloader(), key=lambda batch: int(batch.ids))])
    train = module.split("train")
    assert torch.equal(labels, module.training_images().labels)
    assert (labels[len(train) :] == -1).all()
    if module.name != "generated":  # which is trained on other images than those of split train, without labels
        assert torch.equal(labels[: len(train)], train.labels)
        assert torch.equal(module.split("fit").labels[len(train) :], module.split("validation").labels)


def test_batches_are_the_split_in_order(module: DataModule) -> None:
    seen = list(module.batches("test", batch_size=4))
    assert torch.equal(torch.cat([batch.ids for batch in seen]), torch.arange(len(module.split("test"))))
    assert torch.equal(torch.cat([batch.images for batch in seen]), all_of(module, "test").images)
