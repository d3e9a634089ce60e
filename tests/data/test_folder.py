"""Image folders: split folders, unlabelled images, archives, damaged images."""

import shutil
from pathlib import Path

import pytest
import torch

from tests.data.conftest import Make
from tests.data.samples import encoded, write


def move_into_splits(root: Path) -> None:
    for path in sorted(root.glob("*/*.png")):
        split = {"8.png": "val", "9.png": "test"}.get(path.name, "train")
        write(root / split / path.parent.name / path.name, path.read_bytes())
    for name in ("cat", "dog", "owl"):
        shutil.rmtree(root / name)


def test_split_folders_are_the_splits(make: Make) -> None:
    module = make("image_folder", move_into_splits)
    module.setup()
    assert [len(module.split(split)) for split in ("train", "validation", "test")] == [24, 3, 3]
    assert module.targets[0].classes == ("cat", "dog", "owl")


def test_unlabelled_images_are_in_train_only(make: Make) -> None:
    def add(root: Path) -> None:
        for i in range(7):
            write(root / "unlabelled" / f"{i}.png", encoded(5, (20, 20), "PNG"))

    module = make("image_folder", add)
    module.setup()
    assert int((module.split("train").labels == -1).sum()) == 7
    assert (module.split("validation").labels >= 0).all()
    assert (module.split("test").labels >= 0).all()


def test_an_archive_gives_the_same_images_as_the_folder(make: Make, root: Path) -> None:
    folder = make("image_folder")
    folder.setup()
    archive = shutil.make_archive(str(root), "zip", root)
    zipped = type(folder)(root=archive, size=16)  # type: ignore[call-arg]
    zipped.setup()
    index = torch.arange(len(folder.split("train")))
    assert torch.equal(folder.split("train")[index].images, zipped.split("train")[index].images)


def test_a_changed_image_gets_a_new_cache(make: Make, root: Path) -> None:
    first, second = make("image_folder"), make("image_folder")
    first.setup()
    write(root / "cat" / "0.png", encoded(9, (30, 30), "PNG"))
    second.setup()
    changed = [module.split(s).images[0].float().mean().item() for module in (first, second) for s in ("train",)]  # type: ignore[index]
    assert changed == [20, 200]


def test_skipping_leaves_damaged_images_out(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    module = make("image_folder", lambda root: write(root / "cat" / "0.png", b"no image"), on_error="skip")
    module.setup()
    rows = [module.split(split).rows for split in ("train", "validation", "test")]
    assert sorted(torch.cat(rows).tolist()) == list(range(1, 30))
    assert [record.message for record in caplog.records] == ["image_folder: skipped 1 damaged of 30 images"]


def test_grey_images_have_one_channel(make: Make) -> None:
    module = make("image_folder", channels=1)
    module.setup()
    assert module.split("test")[torch.arange(2)].images.shape == (2, 1, 16, 16)
    assert len(module.mean) == len(module.std) == 1
