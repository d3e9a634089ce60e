"""Layouts of parquet files, and labels of any type."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ssl_bench.data.parquet_files import encode_labels, find_shards
from ssl_bench.errors import UserError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize(
    "names",
    [
        ["default/train/0000.parquet", "default/train/0001.parquet"],
        ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"],
        ["data/train-00000-of-00002-f00d.parquet", "data/train-00001-of-00002-beef.parquet"],
        ["train-1.parquet", "train-2.parquet"],
        ["train-2017.parquet", "train-2019.parquet"],
        ["train.parquet"],
    ],
)
def test_the_layouts_of_hugging_face_are_found_in_order(names: list[str], tmp_path: Path) -> None:
    touch(tmp_path, *names, "default/test/0000.parquet")
    assert [path.relative_to(tmp_path).as_posix() for path in find_shards(tmp_path, "train")] == names


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["data/train-00000-of-00003.parquet", "data/train-00002-of-00003.parquet"], "2 of 3 files train-"),
        (["default/train/0000.parquet", "default/train/0002.parquet"], r"train lacks 0001\.parquet"),
        (["a/train/0000.parquet", "b/train/0000.parquet"], r"several configurations \(a, b\): set --data\.root"),
        (["default/validation/0000.parquet", "holdout.parquet"], "its splits are holdout, validation"),
        (["train/train-00000-of-00002.parquet"], r"1 of 2 files .*download train-00001-of-00002\.parquet"),
        (["train.parquet", "train-00000-of-00001.parquet"], "of several layouts .*keep one"),
        (["train-00000-of-00001.parquet", "train-00000-of-00002.parquet"], "of several layouts .*keep one"),
        (["train.parquet", "Train.parquet"], "of several layouts .*keep one"),
        (["train-00000-of-00002-0a1b.parquet"], r"1 of 2 files .*download train-00001-of-00002-\*\.parquet"),
        (["train-0000-of-0002.parquet"], r"1 of 2 files .*download train-0001-of-0002\.parquet"),
        (["train-00000-of-00001-0a.parquet", "train-00000-of-00001-1b.parquet"], "of several layouts .*keep one"),
        (["train-1.parquet", "train-3.parquet"], r"lacks train-2\.parquet; download it"),
        (["train-01.parquet"] + [f"train-{n:02}.parquet" for n in range(3, 11)], r"lacks train-02\.parquet"),
        (["train.parquet", "Training.parquet"], "the train split as train and as training; remove one"),
    ],
)
def test_missing_shards_and_several_configurations_are_named(names: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        find_shards(touch(tmp_path, *names), "train")


def test_files_in_a_linked_folder_are_found(tmp_path: Path) -> None:
    touch(tmp_path / "disk", "0000.parquet")
    root = touch(tmp_path / "set", "test.parquet")
    (root / "train").symlink_to(tmp_path / "disk")
    assert find_shards(root, "train") == [root / "train" / "0000.parquet"]


@pytest.mark.parametrize("name", ["train/train-00000-of-00001.parquet", "Train.parquet", "TRAINING/0000.parquet"])
def test_a_file_is_found_once_under_any_spelling_of_its_split(name: str, tmp_path: Path) -> None:
    touch(tmp_path, name, "test/0000.parquet", ".cache/train.parquet")
    assert find_shards(tmp_path, "train") == [tmp_path / name]


def test_the_name_of_a_file_takes_precedence_over_that_of_its_folder(tmp_path: Path) -> None:
    touch(tmp_path, "test/train-00000-of-00001.parquet", "test/test-00000-of-00001.parquet")
    assert [path.name[:5] for path in find_shards(tmp_path, "test")] == ["test-"]


@pytest.mark.parametrize(
    ("labels", "kind", "codes", "classes"),
    [
        ([3, 1, None, -1], pa.int64(), [1, 0, -1, -1], ("1", "3")),
        ([20_000_001, 20_000_000], pa.int64(), [1, 0], ("20000000", "20000001")),
        ([2**63, 0], pa.uint64(), [1, 0], ("0", str(2**63))),
        (["dog", "cat", None], pa.string(), [1, 0, -1], ("cat", "dog")),
        ([True, False, None], pa.bool_(), [1, 0, -1], ("0", "1")),
    ],
)
def test_classes_are_the_values_that_occur(labels: list[Any], kind: Any, codes: list[int], classes: Any) -> None:
    (found,), names = encode_labels([pa.chunked_array([pa.array(labels, kind)])], ())
    assert (found.tolist(), names) == (codes, classes)


def test_files_share_one_numbering_of_classes() -> None:
    columns = [pa.chunked_array([pa.array(words)]) for words in (["dog", "emu"], ["cat", "dog"])]
    codes, names = encode_labels(columns, ())
    assert [code.tolist() for code in codes] == [[1, 2], [0, 1]]
    assert names == ("cat", "dog", "emu")


def test_labels_with_named_classes_are_their_numbers() -> None:
    (codes,), names = encode_labels([pa.chunked_array([pa.array([2, None])])], ["cat", "dog", "owl"])
    assert (codes.tolist(), names) == ([2, -1], ("cat", "dog", "owl"))


def test_labels_below_minus_one_are_refused() -> None:
    with pytest.raises(UserError, match="at least 0, or -1 for no label; got -5"):
        encode_labels([pa.chunked_array([pa.array([-5, 1])])], ())


def test_files_may_have_integers_of_different_sizes() -> None:
    columns = [pa.chunked_array([pa.array(labels, kind)]) for labels, kind in (([7, 5], pa.int64()), ([7], pa.uint8()))]
    codes, names = encode_labels(columns, ())
    assert ([code.tolist() for code in codes], names) == ([[1, 0], [1]], ("5", "7"))


def test_strings_with_named_classes_are_classes() -> None:
    (codes,), names = encode_labels([pa.chunked_array([pa.array(["dog", "cat"])])], ["dog", "cat"])
    assert (codes.tolist(), names) == ([1, 0], ("cat", "dog"))


def test_a_label_of_more_than_63_bits_that_should_number_a_class_is_refused() -> None:
    with pytest.raises(UserError, match=r"below 2\^63"):
        encode_labels([pa.chunked_array([pa.array([2**63], pa.uint64())])], ["cat"])
