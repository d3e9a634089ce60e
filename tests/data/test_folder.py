"""Image folders: split folders, unlabelled images, archives, damaged images."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_bench.data.fingerprint import fingerprint
from ssl_bench.errors import UserError
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


def classes_of_files(root: Path, name: str, content: bytes) -> None:
    shutil.rmtree(root)
    for label in ("cat", "dog"):
        for i in range(10):
            write(root / label / f"{i}{name}", content)


@pytest.mark.parametrize("channels", [2, 4, 13])
def test_arrays_of_several_channels_are_read_with_their_number_of_channels(make: Make, channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (16, 16, channels), np.uint16)
    file = io.BytesIO()
    np.save(file, values)
    module = make("image_folder", lambda root: classes_of_files(root, ".npy", file.getvalue()), channels=channels)
    module.setup()
    assert np.array_equal(module.split("test")[torch.tensor([0])].images[0], np.rint(values / 257).transpose(2, 0, 1))
    assert len(module.mean) == len(module.std) == channels
    assert fingerprint(module).shape == (channels, 16, 16)


def test_a_file_of_another_number_of_channels_is_named(make: Make) -> None:
    file = io.BytesIO()
    np.save(file, np.zeros((16, 16, 4), np.uint8))
    module = make("image_folder", lambda root: write(root / "cat" / "odd.npy", file.getvalue()))
    with pytest.raises(UserError, match=r"cat/odd\.npy is not a readable image \(4 channels, expected 3"):
        module.setup()


def test_a_16_bit_image_keeps_its_brightness(make: Make) -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((16, 16), 2570, np.uint16)).save(file, "PNG")
    module = make("image_folder", lambda root: classes_of_files(root, ".png", file.getvalue()))
    module.setup()
    assert (module.split("train")[torch.arange(4)].images == 10).all()


def test_a_float_image_outside_0_to_1_is_named(make: Make) -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((16, 16), 7.5, np.float32)).save(file, "TIFF")
    module = make("image_folder", lambda root: write(root / "dog" / "hot.tiff", file.getvalue()))
    with pytest.raises(UserError, match=r"dog/hot\.tiff is not a readable image \(float values from 7\.5 to 7\.5"):
        module.setup()


def test_the_error_for_a_folder_without_class_folders_names_the_folder_of_unlabelled_images(make: Make) -> None:
    def flatten(root: Path) -> None:
        shutil.rmtree(root)
        write(root / "a.png", encoded(5, (20, 20), "PNG"))

    with pytest.raises(UserError, match=r"contains files but no class folders: .*into the folder unlabelled"):
        make("image_folder", flatten).setup()
