"""Damaged and wrong files: the error is one line that names the file, and no incomplete file is left."""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch._utils import ExceptionWrapper

from ssl_bench.errors import UserError
from tests.data.conftest import Make
from tests.data.samples import encoded, pickled, write, write_idx

RAW = Path("MNIST/raw")


def cut(name: str) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        path = root / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return damage


def put(name: str, content: bytes | str) -> Callable[[Path], None]:
    return lambda root: write(root / name, content)


def swap(name: str, old: str, new: str) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        path = root / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return damage


def empty(root: Path) -> None:
    shutil.rmtree(root)
    root.mkdir()


def only(name: str) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        empty(root)
        write(root / name, b"")

    return damage


CASES: dict[str, tuple[str, Callable[[Path], object] | None, dict[str, Any], str]] = {
    "idx truncated": ("mnist", cut("MNIST/raw/train-images-idx3-ubyte.gz"), {}, "train-images-.* is damaged"),
    "idx of something else": (
        "mnist",
        put("MNIST/raw/train-images-idx3-ubyte.gz", gzip.compress(b"hello")),
        {},
        "is not an idx file",
    ),
    "idx shorter than its header": (
        "mnist",
        lambda root: write_idx(root / RAW / "t10k-images-idx3-ubyte.gz", (20, 28, 28), b"few"),
        {},
        "t10k-images.* contains 3 bytes, its header states 20x28x28",
    ),
    "label count": (
        "mnist",
        lambda root: write_idx(root / RAW / "train-labels-idx1-ubyte.gz", (7,), bytes(7)),
        {},
        "has 40 images but its label file 7 labels",
    ),
    "label out of range": (
        "mnist",
        lambda root: write_idx(root / RAW / "train-labels-idx1-ubyte.gz", (40,), bytes([10] * 40)),
        {},
        "labels of digit from 0 to 10 .*expected 0 to 9",
    ),
    "image size": (
        "mnist",
        lambda root: write_idx(root / RAW / "train-images-idx3-ubyte.gz", (40, 2, 2), bytes(160)),
        {},
        r"images of \(2, 2\), expected 28x28",
    ),
    "pickle truncated": ("cifar10", cut("cifar-10-batches-py/data_batch_2"), {}, "data_batch_2 is damaged"),
    "pickle that runs code": (
        "cifar10",
        put("cifar-10-batches-py/test_batch", b"cos\nsystem\n(S'true'\ntR."),
        {},
        "test_batch is damaged .*os.system",
    ),
    "pickle without images": (
        "cifar10",
        put("cifar-10-batches-py/test_batch", pickled({"labels": []})),
        {},
        "test_batch is not a file of cifar10",
    ),
    "no class names": ("cifar100", put("cifar-100-python/meta", pickled({})), {}, "target object has no classes"),
    "archive truncated": ("celeba", cut("celeba/img_align_celeba.zip"), {}, "nor a readable zip"),
    "attribute row missing": (
        "celeba",
        swap("celeba/list_attr_celeba.txt", "30\n", "31\n"),
        {},
        r"states 31 images of 40 attributes, it contains \(30, 40\)",
    ),
    "attribute value": ("celeba", swap("celeba/list_attr_celeba.txt", " -1", " 3"), {}, "other than -1 and 1"),
    "partition of other images": (
        "celeba",
        swap("celeba/list_eval_partition.txt", "000003.jpg", "x.jpg"),
        {},
        "list_eval_partition.txt .30 images. and the attribute file .30. list different",
    ),
    "partition value": ("celeba", swap("celeba/list_eval_partition.txt", " 2", " 7"), {}, "contains part 7"),
    "unknown target": ("celeba", None, {"target": "hairs"}, "no target 'hairs'; nearest: hair"),
    "annotation missing": (
        "tiny_imagenet",
        swap("tiny-imagenet-200/val/val_annotations.txt", "val_1.JPEG", "val_9.JPEG"),
        {},
        "val_annotations.txt has 6 images",
    ),
    "annotated class": (
        "tiny_imagenet",
        swap("tiny-imagenet-200/val/val_annotations.txt", "n01629819", "n99999999"),
        {},
        "labelled n99999999",
    ),
    "class folder missing": ("imagenet10", None, {"classes": ["n02056570", "n00000001"]}, "the first: n00000001"),
    "short side": ("imagenet", None, {"short_side": 8}, "short_side is 8, expected at least size, 32"),
    "skip without a cache": ("imagenet", None, {"on_error": "skip"}, "on_error skip needs a cache"),
    "image truncated": ("image_folder", cut("dog/3.png"), {}, "dog/3.png is not a readable image"),
    "JPEG truncated": (
        "image_folder",
        put("owl/7.png", encoded(2, (200, 200))[:500]),
        {},
        "owl/7.png is not a readable image",
    ),
    "no image": ("image_folder", put("cat/notes.png", "hello"), {}, "cat/notes.png is not a readable image"),
    "empty image": (
        "image_folder",
        put("cat/0.png", b""),
        {},
        r"cat/0.png is not a readable image \(the file is empty",
    ),
    "empty folder": ("image_folder", empty, {}, "contains no images"),
    "no class folders": (
        "image_folder",
        only("a.png"),
        {},
        "contains files but no class folders",
    ),
    "no train folder": (
        "image_folder",
        only("test/cat/a.png"),
        {},
        "no train folder",
    ),
    "statistics of other channels": ("image_folder", None, {"mean": (0.5,)}, "mean has 1 value, expected 3"),
    "parquet truncated": ("parquet", cut("data/train-00000-of-00001.parquet"), {}, "not a readable parquet file"),
    "column": ("parquet", None, {"image_column": "img"}, "no column 'img' .*: did you mean image"),
    "labels that are no numbers": (
        "parquet",
        None,
        {"label_column": "image"},
        "expected integers, strings or booleans",
    ),
    "split": ("parquet", None, {"test_split": "dev"}, "no dev-.*its splits are test, train"),
}


@pytest.mark.parametrize("case", CASES)
def test_invalid_input_gives_a_one_line_error_and_no_cache(case: str, make: Make, cache: Path) -> None:
    name, damage, options, message = CASES[case]
    with pytest.raises(UserError, match=message) as error:
        make(name, damage, **options).setup()
    assert "\n" not in str(error.value)
    assert not list(cache.glob("*"))


def test_a_loader_process_names_a_damaged_image_in_one_line(make: Make) -> None:
    module = make("imagenet", put("imagenet/train/n01443537/n01443537_0.JPEG", b"no image"), batch_size=10)
    module.setup()
    with pytest.raises(UserError, match=r"n01443537_0\.JPEG is not a readable image") as error:
        list(module.train_dataloader())
    with pytest.raises(UserError) as handed_on:  # what a loader process does with it
        ExceptionWrapper((error.type, error.value, error.tb), where="in a loader process").reraise()
    assert str(handed_on.value) == str(error.value)
    assert "\n" not in str(error.value)
