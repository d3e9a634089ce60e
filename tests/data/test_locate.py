"""Folders that are searched for data, and the error for missing files."""

import gzip
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ssl_bench.data import MNIST, DataModule, Digits, FashionMNIST
from ssl_bench.data.locate import find_or_download
from ssl_bench.errors import UserError
from tests.data.samples import SAMPLES, idx

FILES = {
    "celeba": ("celeba", "img_align_celeba.zip", "list_attr_celeba.txt", "list_eval_partition.txt"),
    "cifar10": ("cifar-10-batches-py", "data_batch_1", "test_batch"),
    "cifar100": ("cifar-100-python", "train", "test"),
    "fashion_mnist": ("FashionMNIST/raw", "t10k-labels-idx1-ubyte.gz"),
    "generated": ("index.json", "ssl-bench views sample"),
    "image_folder": ("data",),
    "imagenet": ("imagenet", "train", "val"),
    "imagenet10": ("imagenet", "train", "val"),
    "imagenet100": ("imagenet", "train", "val"),
    "mnist": ("MNIST/raw", "train-images-idx3-ubyte.gz"),
    "parquet": ("train-*.parquet",),
    "tiny_imagenet": ("tiny-imagenet-200.zip",),
}


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", sorted(set(SAMPLES) - {"digits", "double_spiral"}))
def test_missing_files_are_named(name: str, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, write_files = SAMPLES[name]
    arguments = write_files(tmp_path / "elsewhere") | {"root": str(root)}
    monkeypatch.setattr(FashionMNIST, "system", None)
    with pytest.raises(UserError) as error:
        kind(**arguments).prepare_data()
    message = str(error.value)
    assert "\n" not in message
    assert all(part in message for part in FILES[name])
    assert "--data.root" in message
    assert not root.exists()


def test_root_is_the_argument_else_the_environment_variable_else_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_BENCH_DATA", raising=False)
    assert Digits().root == Path("data")
    monkeypatch.setenv("SSL_BENCH_DATA", "/from/environment")
    assert Digits().root == Path("/from/environment")
    assert Digits(root="/from/argument").root == Path("/from/argument")


def test_files_of_a_distribution_are_found(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    idx("FashionMNIST")(tmp_path)
    monkeypatch.setattr(FashionMNIST, "system", str(tmp_path / "FashionMNIST" / "raw"))
    module: DataModule = FashionMNIST(root=str(root))
    module.setup()
    assert len(module.split("test")) == 20


def test_unpacked_idx_files_are_found(root: Path) -> None:
    arguments = idx("MNIST")(root)
    for path in (root / "MNIST" / "raw").iterdir():
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    module = MNIST(**arguments)
    module.setup()
    assert len(module.split("test")) == 20


def test_two_runs_that_need_the_same_data_download_it_once(root: Path) -> None:
    downloads = []

    def download(folder: Path) -> None:
        downloads.append(folder)
        (folder / "x").mkdir()
        (folder / "x" / "first").touch()
        time.sleep(0.5)
        (folder / "x" / "second").touch()

    def find(_: int) -> list[Path]:
        return find_or_download("x", [root / "x"], [("first",), ("second",)], root, download)

    with ThreadPoolExecutor(2) as runs:
        assert list(runs.map(find, range(2))) == [[root / "x" / "first", root / "x" / "second"]] * 2
    assert len(downloads) == 1
    assert [path.name for path in root.iterdir()] == ["x"]


def test_a_partial_download_of_a_killed_run_is_removed(root: Path) -> None:
    (root / ".download-abcd").mkdir(parents=True)
    find_or_download("x", [root], [("file",)], root, lambda folder: (folder / "file").touch())
    assert [path.name for path in root.iterdir()] == ["file"]
