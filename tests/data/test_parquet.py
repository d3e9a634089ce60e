"""Parquet files: columns, split names, missing labels and class names."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from tests.data.conftest import Make
from tests.data.samples import encoded, grey


def other_names(root: Path) -> None:
    for path in (root / "data").iterdir():
        path.unlink()
    for split, count in (("training", 12), ("valid", 4), ("holdout", 4)):
        pixels = [encoded(i % 2, (40, 40), "PNG") for i in range(count)]
        labels = [None if i == 11 else i % 2 for i in range(count)]
        pq.write_table(pa.table({"img": pixels, "fine": pa.array(labels, pa.uint8())}), root / f"{split}.parquet")


def test_columns_and_splits_may_have_any_name(make: Make) -> None:
    module = make(
        "parquet",
        other_names,
        image_column="img",
        label_column="fine",
        train_split="training",
        validation_split="valid",
        test_split="holdout",
        size=20,
    )
    module.setup()
    train = module.split("train")
    assert train.labels.tolist() == [0, 1] * 5 + [0, -1]
    assert train[torch.arange(3)].images[:, 0, 0, 0].tolist() == [grey(0), grey(1), grey(0)]
    assert [len(module.split(split)) for split in ("validation", "test")] == [4, 4]
    assert module.targets[0].classes == ("0", "1")


def test_class_names_come_from_the_schema(make: Make) -> None:
    module = make("parquet")
    module.setup()
    assert module.targets[0].classes == ("cat", "dog", "owl")


def test_a_missing_test_split_is_held_out(make: Make) -> None:
    module = make("parquet", test_split=None)
    module.setup()
    assert len(module.split("test")) == 6
    assert sum(len(module.split(split)) for split in ("train", "validation")) == 24
