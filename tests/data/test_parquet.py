"""Parquet files: columns, split names, missing labels and class names."""

import json
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from ssl_bench.data.module import DataModule
from ssl_bench.data.parquet import Parquet
from ssl_bench.data.types import Split
from ssl_bench.errors import UserError
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


def write(path: Path, images: pa.Array, classes: list[str]) -> None:
    """Write a file with labels 0, 1, 0, 1, ... and names of their classes."""
    table = pa.table({"image": images, "label": [i % 2 for i in range(len(images))]})
    info = {"info": {"features": {"label": {"names": classes}}}}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(info)}), path)


def images(count: int) -> pa.Array:
    return pa.array([encoded(i % 2, (40, 40), "PNG") for i in range(count)])


def only(root: Path) -> Path:
    """The folder without its files."""
    for path in (root / "data").iterdir():
        path.unlink()
    return root


def test_files_in_a_folder_of_the_same_name_are_read_once(make: Make) -> None:
    def build(root: Path) -> None:
        write(only(root) / "train" / "train-00000-of-00001.parquet", images(20), ["cat", "dog"])

    module = make("parquet", build, test_split=None)
    module.setup()
    assert sum(len(module.split(split)) for split in ("train", "validation", "test")) == 20


@pytest.mark.parametrize("folder", ["default/{}", "data"])
@pytest.mark.parametrize(
    ("labels", "kind"),
    [(["dog", "cat"], pa.string()), ([20_000_001, 20_000_000], pa.int64()), ([2**64 - 1, 0], pa.uint64())],
)
def test_all_shards_of_both_layouts_are_read_with_labels_of_any_type(
    make: Make, folder: str, labels: list[object], kind: pa.DataType
) -> None:
    def build(root: Path) -> None:
        only(root)
        for split, shards in (("train", 3), ("test", 1)):
            for shard in range(shards):
                name = f"{shard:04}" if "{}" in folder else f"{split}-{shard:05}-of-{shards:05}"
                path = root / folder.format(split) / f"{name}.parquet"
                path.parent.mkdir(parents=True, exist_ok=True)
                column = pa.array([labels[i % 2] for i in range(10)], kind)
                pq.write_table(pa.table({"image": images(10), "label": column}), path)

    module = make("parquet", build)
    module.setup()
    sizes = {split: len(module.split(split)) for split in ("train", "validation", "test")}
    assert sizes["train"] + sizes["validation"] == 30
    assert sizes["test"] == 10
    assert module.targets[0].classes == tuple(map(str, sorted(labels)))  # type: ignore[type-var]
    train = module.split("train")
    brightness = train[torch.arange(sizes["train"])].images[:, 0, 0, 0]
    names = [module.targets[0].classes[label] for label in train.labels]
    assert [int(grey_of) for grey_of in brightness] == [grey(labels.index(one)) for one in typed(names, kind)]


def typed(names: list[str], kind: pa.DataType) -> list[Any]:
    """Names of classes as values of a column."""
    return names if kind == pa.string() else [int(name) for name in names]


def test_splits_that_number_their_classes_differently_are_refused(make: Make) -> None:
    def build(root: Path) -> None:
        write(only(root) / "train.parquet", images(4), ["cat", "dog"])
        write(root / "test.parquet", images(4), ["dog", "cat"])

    with pytest.raises(UserError, match=r"train\.parquet and .*test\.parquet name the classes of label differently"):
        make("parquet", build).setup()


@pytest.mark.parametrize(
    ("names", "settings", "sizes"),
    [
        (["train", "test", "Valid", "extra"], {}, "10 train, 10 validation, 10 test images"),
        (["train", "test", "extra"], {}, "8 train, 2 validation, 10 test images"),
        (["train", "validation", "extra"], {"test_split": "validation"}, "8 train, 2 validation, 10 test images"),
    ],
)
def test_validation_files_are_used_and_files_of_no_split_counted(
    make: Make, names: list[str], settings: dict[str, Any], sizes: str
) -> None:
    def build(root: Path) -> None:
        only(root)
        for name in names:
            write(root / f"{name}.parquet", images(10), ["cat", "dog"])

    module = make("parquet", build, **settings)
    module.setup()
    assert module.summary() == f"parquet: {sizes}, 2 classes; 1 file skipped"


def test_splits_of_two_configurations_are_refused(make: Make) -> None:
    def build(root: Path) -> None:
        write(only(root) / "full" / "train" / "0000.parquet", images(4), ["cat", "dog"])
        write(root / "small" / "test" / "0000.parquet", images(4), ["cat", "dog"])

    with pytest.raises(UserError, match="the train split in the configuration full and the test split in small; set"):
        make("parquet", build).setup()


@pytest.mark.parametrize("key", ["image_column", "label_column"])
def test_a_wrong_column_names_the_nearest(make: Make, key: str) -> None:
    right = key.removesuffix("_column")
    with pytest.raises(UserError, match=rf"no column '{right}s' \(--data\.{key}\): did you mean {right}\?"):
        make("parquet", **{key: f"{right}s"}).setup()


def test_paths_of_images_may_be_outside_of_the_root(make: Make, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.png").write_bytes(encoded(1, (40, 40), "PNG"))

    def build(root: Path) -> None:
        write(only(root) / "train.parquet", pa.array([str(tmp_path / "elsewhere.png")] * 20), ["cat", "dog"])

    module = make("parquet", build, test_split=None)
    module.setup()
    assert module.split("train")[torch.arange(1)].images[0, 0, 0, 0] == grey(1)


def test_structs_contain_bytes_or_the_path_of_an_image(make: Make, root: Path) -> None:
    def build(root: Path) -> None:
        (only(root) / "images").mkdir()
        for i in range(2):
            (root / "images" / f"{i}.png").write_bytes(encoded(i, (40, 40), "PNG"))
        cells = [{"bytes": None, "path": "images/0.png"}, {"bytes": encoded(1, (40, 40), "PNG"), "path": None}] * 10
        cells[2] = {"bytes": encoded(3, (40, 40), "PNG"), "path": "images/0.png"}  # the bytes come first
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        write(root / "train.parquet", pa.array(cells, kind), ["cat", "dog"])
        write(root / "test.parquet", pa.array([{"bytes": None, "path": "images/1.png"}] * 4, kind), ["cat", "dog"])

    def pixels(module: DataModule) -> list[list[int]]:
        module.setup()
        splits = [module.split(name) for name in get_args(Split)]
        return [split[torch.arange(len(split))].images[:, 0, 0, 0].tolist() for split in splits]

    train, validation, test = pixels(make("parquet", build))
    assert sorted(train + validation) == [grey(0)] * 9 + [grey(1)] * 10 + [grey(3)]
    assert test == [grey(1)] * 4
    (root / "images" / "1.png").write_bytes(encoded(5, (50, 50), "PNG"))
    assert pixels(Parquet(root=str(root)))[2] == [grey(5)] * 4  # an image that has changed is read again


@pytest.mark.parametrize("cells", [pa.array([0, 1]), pa.array([{"data": b"0"}, {"data": b"1"}])])
def test_a_column_without_images_is_refused(make: Make, cells: pa.Array) -> None:
    with pytest.raises(UserError, match=r"train\.parquet: column image has the type .*set --data.image_column"):
        make("parquet", lambda root: write(only(root) / "train.parquet", cells, ["a", "b"]), test_split=None).setup()


@pytest.mark.parametrize(
    ("names", "settings", "message"),
    [
        (["train"], {"test_split": "train"}, r"--data\.train_split and --data\.test_split both read .*train\.parquet"),
        (["train"], {"test_split": "training"}, r"--data\.train_split and --data\.test_split both read"),
        (["train", "test"], {"validation_split": "test"}, r"--data\.validation_split and --data\.test_split both read"),
        (["train", "test"], {"train_split": ""}, r"--data\.train_split is empty, expected a prefix .* such as train$"),
        (["train", "test"], {"test_split": ""}, r"--data\.test_split is empty, .* or null to hold it out of train$"),
    ],
)
def test_splits_without_files_of_their_own_are_refused(
    make: Make, names: list[str], settings: dict[str, Any], message: str
) -> None:
    def build(root: Path) -> None:
        only(root)
        for name in names:
            write(root / f"{name}.parquet", images(4), ["cat", "dog"])

    with pytest.raises(UserError, match=message):
        make("parquet", build, **settings).setup()


def with_metadata(path: Path, metadata: str) -> None:
    """Replace the metadata of a parquet file."""
    pq.write_table(pq.read_table(path).replace_schema_metadata({"huggingface": metadata}), path)


@pytest.mark.parametrize(
    "info",
    [
        [],
        {"info": None},
        {"info": {"features": None}},
        {"info": {"features": {"label": None}}},
        {"info": {"features": {"label": {"names": None}}}},
        {"info": {"features": {"label": [{"names": ["cat"]}]}}},
    ],
)
def test_metadata_without_class_names_leave_the_values_as_classes(make: Make, info: Any) -> None:
    def build(root: Path) -> None:
        write(only(root) / "train.parquet", images(20), [])
        with_metadata(root / "train.parquet", json.dumps(info))

    module = make("parquet", build, test_split=None)
    module.setup()
    assert module.targets[0].classes == ("0", "1")


def test_metadata_that_are_not_json_are_refused(make: Make) -> None:
    def build(root: Path) -> None:
        with_metadata(root / "data" / "train-00000-of-00001.parquet", "{")

    with pytest.raises(UserError, match=r"train-00000-of-00001\.parquet: the metadata huggingface .* is not JSON"):
        make("parquet", build).setup()


@pytest.mark.parametrize("name", ["absent.png", "a\0b.png", "iVBORw0KGgo=" * 500])
def test_a_path_without_a_file_is_named_in_a_short_line_or_skipped(make: Make, name: str) -> None:
    def build(root: Path) -> None:
        (only(root) / "there.png").write_bytes(encoded(1, (40, 40), "PNG"))
        write(root / "train.parquet", pa.array([name] + ["there.png"] * 19), ["cat", "dog"])

    with pytest.raises(
        UserError, match=r"^row 0 of .*train\.parquet is not a readable image .*on_error skip$"
    ) as error:
        make("parquet", build, test_split=None).setup()
    assert len(str(error.value)) < 500
    module = make("parquet", build, test_split=None, on_error="skip")
    module.setup()
    assert module.summary().endswith("; 1 file skipped")
