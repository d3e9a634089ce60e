"""Image folders: split folders, unlabelled images, archives, damaged images."""

import io
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_bench.cli import main
from ssl_bench.data.class_folders import Listing, list_classes
from ssl_bench.data.file_tree import FileTree
from ssl_bench.data.fingerprint import fingerprint
from ssl_bench.errors import UserError
from ssl_bench.results.record import Record
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


def keep(root: Path, per_class: int) -> None:
    for path in root.glob("*/*.png"):
        if int(path.stem) >= per_class:
            path.unlink()


@pytest.mark.parametrize("per_class", [1, 2])
def test_an_empty_validation_split_is_refused(make: Make, per_class: int) -> None:
    advice = "give three or more labelled images of some class, or a validation split"
    with pytest.raises(UserError, match=f"no validation images under .*: {advice}"):
        make("image_folder", lambda root: keep(root, per_class)).setup()


def test_three_images_of_each_class_are_enough(make: Make) -> None:
    module = make("image_folder", lambda root: keep(root, 3))
    module.setup()
    assert [len(module.split(split)) for split in ("train", "validation", "test")] == [3, 3, 3]


def test_a_given_split_whose_images_are_all_skipped_is_refused(make: Make) -> None:
    def damage(root: Path) -> None:
        move_into_splits(root)
        for path in root.glob("val/*/*.png"):
            path.write_bytes(b"no image")

    with pytest.raises(UserError, match=r"no validation images under .*: add images to the validation split"):
        make("image_folder", damage, on_error="skip").setup()


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


def test_the_number_of_channels_is_a_flag(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for label, last in {"cat": 0, "dog": 255}.items():
        (root / label).mkdir(parents=True)
        for i in range(10):
            np.save(root / label / f"{i}.npy", np.full((8, 8, 4), (i, 0, 0, last), np.uint8))
    data = [
        "--data",
        "image_folder",
        f"--data.root={root}",
        "--data.channels",
        "4",
        "--data.size=8",
        "--data.batch_size=4",
    ]
    flags = ["--epochs", "0", "--evaluation.protocols", "[knn]", "--evaluation.knn.k=[1]", "--trainer.accelerator=cpu"]
    assert main(["bench", "--method", "vae", *data, *flags, f"--out={tmp_path / 'runs'}"]) == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert Record.read(run).metrics["knn_1/accuracy"] == 100  # the classes differ in the last channel only


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


@pytest.mark.parametrize("train", ["train", "Train", "TRAINING"])
@pytest.mark.parametrize("validation", ["val", "valid", "Validation", "dev"])
@pytest.mark.parametrize("test", ["Test", "testing"])
def test_split_folders_have_the_usual_spellings(make: Make, train: str, validation: str, test: str) -> None:
    def rename(root: Path) -> None:
        move_into_splits(root)
        for name, new in {"train": train, "val": validation, "test": test}.items():
            (root / name).rename(root / f"{new}-moved")
            (root / f"{new}-moved").rename(root / new)

    module = make("image_folder", rename)
    module.setup()
    assert [len(module.split(split)) for split in ("train", "validation", "test")] == [24, 3, 3]
    assert module.targets[0].classes == ("cat", "dog", "owl")


@pytest.mark.parametrize("place", ["Unlabeled", "train/unlabelled", "UNLABELLED"])
def test_unlabelled_images_beside_or_in_splits_are_no_class(make: Make, place: str) -> None:
    def add(root: Path) -> None:
        move_into_splits(root)
        for i in range(5):
            write(root / place / f"{i}.png", encoded(5, (20, 20), "PNG"))

    module = make("image_folder", add)
    module.setup()
    assert module.targets[0].classes == ("cat", "dog", "owl")
    assert int((module.split("train").labels == -1).sum()) == 5
    assert module.summary() == "image_folder: 29 train, 3 validation, 3 test images, 3 classes; 5 unlabelled"


def test_a_skipped_image_without_a_label_is_not_counted_as_unlabelled(make: Make) -> None:
    def add(root: Path) -> None:
        for i in range(3):
            write(root / "unlabelled" / f"{i}.png", encoded(5, (20, 20), "PNG") if i else b"no image")

    module = make("image_folder", add, on_error="skip")
    module.setup()
    sizes = "23 train, 3 validation, 6 test images, 3 classes"
    assert module.summary() == f"image_folder: {sizes}; 2 unlabelled; 1 file skipped"


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ("fox", r"has folders of splits \(test, train, val\) and others \(fox\); move the others into the splits, or"),
        ("Training", "Training and train are both folders of the train split; merge them"),
        ("valid", "val and valid are both folders of the validation split; merge them"),
    ],
)
def test_a_folder_that_is_only_in_part_one_of_splits_is_refused(make: Make, added: str, message: str) -> None:
    def add(root: Path) -> None:
        move_into_splits(root)
        write(root / added / "cat" / "0.png", encoded(5, (20, 20), "PNG"))

    with pytest.raises(UserError, match=message):
        make("image_folder", add).setup()


def test_a_class_called_like_a_split_among_classes_is_refused(make: Make) -> None:
    with pytest.raises(UserError, match="rename the folders if they are all classes"):
        make("image_folder", lambda root: write(root / "test" / "0.png", encoded(5, (20, 20), "PNG"))).setup()


def test_the_test_folder_of_imagenet_without_labels_is_ignored(make: Make) -> None:
    name = "imagenet/test/ILSVRC2012_test_00000001.JPEG"
    module = make("imagenet", lambda root: write(root / name, encoded(5, (200, 200), "JPEG")))
    module.setup()
    assert all(name.startswith("n") for name in module.targets[0].classes)


@pytest.mark.parametrize("folder", ["train/fox", "dev"])
def test_a_class_or_split_without_images_is_named(make: Make, folder: str) -> None:
    def add(root: Path) -> None:
        move_into_splits(root)
        shutil.rmtree(root / "val")
        write(root / folder / "cat" / "0.heic", b"no format of Pillow")

    with pytest.raises(UserError, match=rf"{folder} contains files but no images, such as 0\.heic; convert them"):
        make("image_folder", add).setup()


def test_files_that_are_no_images_are_counted_and_hidden_files_ignored(make: Make) -> None:
    def add(root: Path) -> None:
        for name in ("notes.txt", "cat/Thumbs.db", "cat/0.png.bak", "cat/.DS_Store", "__MACOSX/cat/0.png"):
            write(root / name, b"no image")

    module = make("image_folder", add)
    module.setup()
    assert module.summary() == "image_folder: 21 train, 3 validation, 6 test images, 3 classes; 3 files skipped"


def test_test_classes_without_training_images_are_named(make: Make) -> None:
    def add(root: Path) -> None:
        move_into_splits(root)
        write(root / "test" / "Cat" / "0.png", encoded(5, (20, 20), "PNG"))
        write(root / "val" / "fox" / "0.png", encoded(5, (20, 20), "PNG"))  # probes are refitted on it
        write(root / "test" / "fox" / "0.png", encoded(5, (20, 20), "PNG"))

    module = make("image_folder", add)
    module.setup()
    assert module.summary().endswith("5 test images, 5 classes; 1 test class without training images: Cat")


def test_files_of_formats_that_pillow_does_not_decode_are_no_images(make: Make) -> None:
    def add(root: Path) -> None:
        for name in ("LICENSE", "README.pdf", "data.h5", "cat/0.mpg", "cat/0.hdf", "dog/0.grib"):
            write(root / name, b"no image")

    module = make("image_folder", add)
    module.setup()
    assert module.summary() == "image_folder: 21 train, 3 validation, 6 test images, 3 classes; 6 files skipped"


def listed(root: Path, *names: str) -> Listing:
    for name in names:
        write(root / name, b"a listed file is not opened")
    return list_classes(FileTree(root))


@pytest.mark.parametrize(
    ("train", "test", "split"),
    [
        ("train2017", "val2017", "validation"),
        ("train_set", "test_set", "test"),
        ("seg_train", "seg_test", "test"),
        ("Train Images", "Test Images", "test"),
        ("training_set", "validation_set", "validation"),
        ("trn", "tst", "test"),
        ("cat/train", "cat/test", "test"),
    ],
)
def test_split_folders_of_other_names_are_not_classes(root: Path, train: str, test: str, split: str) -> None:
    with pytest.raises(UserError, match=f"those of splits, .* above the class folders as .*{split}.*, or rename"):
        listed(root, f"{train}/cat/0.png", f"{test}/cat/0.png", "dog/0.png")


def test_classes_may_contain_the_words_of_splits(root: Path) -> None:
    names = ("bullet_train/0.png", "test_tube/0.png", "steam_train/0.png")
    assert listed(root, *names).classes == ("bullet_train", "steam_train", "test_tube")


@pytest.mark.parametrize("name", ["unlabelled_data", "Unlabeled2017", "unlabel", "no_label"])
def test_names_of_folders_without_labels_are_not_classes(root: Path, name: str) -> None:
    with pytest.raises(UserError, match=rf"the folder {name} says that its images have no label; rename it unlabelled"):
        listed(root, "cat/0.png", f"{name}/0.png")


def test_a_single_folder_around_the_class_folders_is_entered(root: Path) -> None:
    listing = listed(root, "README.md", "a/LICENSE", "a/photos/LICENSE", "a/photos/cat/0.png", "a/photos/dog/1/0.png")
    assert listing.classes == ("cat", "dog")
    assert listing.names == ["a/photos/cat/0.png", "a/photos/dog/1/0.png"]
    assert listing.skipped == 3


def test_a_single_folder_around_the_split_folders_is_entered(root: Path) -> None:
    listing = listed(root, "photos/train/cat/0.png", "photos/test/cat/0.png")
    assert {split: len(rows) for split, rows in listing.rows.items()} == {"train": 1, "test": 1}


@pytest.mark.parametrize("archive", [False, True])
def test_an_empty_split_folder_is_refused(root: Path, archive: bool) -> None:
    write(root / "photos" / "train" / "cat" / "0.png", b"a listed file is not opened")
    (root / "photos" / "val").mkdir()
    path = Path(shutil.make_archive(str(root), "zip", root)) if archive else root
    with pytest.raises(UserError, match=r"photos/val is the folder of a split, but it is empty; add images or remove"):
        list_classes(FileTree(path))


def test_a_folder_that_cannot_be_read_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The superuser can read every folder, so that the error is simulated."""
    scandir = os.scandir

    def refuse(path: Path) -> Any:
        if path.name == "dog":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    listed(root, "cat/0.png", "dog/0.png")
    monkeypatch.setattr("ssl_bench.data.file_tree.os.scandir", refuse)
    with pytest.raises(UserError, match=r"cannot read .*dog: Permission denied; make it readable or remove it"):
        listed(root)


def test_hidden_folders_are_not_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir, opened = os.scandir, set()

    def spy(path: Path) -> Any:
        opened.add(path.name)
        return scandir(path)

    monkeypatch.setattr("ssl_bench.data.file_tree.os.scandir", spy)
    assert listed(root, "cat/0.png", ".git/0.png", "lost+found/0.png").names == ["cat/0.png"]
    assert opened == {root.name, "cat"}


def test_links_to_folders_are_followed_but_not_into_a_folder_that_contains_them(root: Path, tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "0.png", b"a listed file is not opened")
    listed(root, "cat/0.png", "dog/0.png")
    (root / "fox").symlink_to(tmp_path / "elsewhere")
    (root / "cat" / "up").symlink_to("..")
    (root / "dog" / "top").symlink_to(tmp_path)
    (root / "dog" / "itself").symlink_to(root / "dog")
    above = "dog/top/elsewhere/0.png"
    assert listed(root).names == ["cat/0.png", "dog/0.png", above, "fox/0.png"]


def test_a_dangling_link_is_a_file_that_cannot_be_read(make: Make) -> None:
    def link(root: Path) -> None:
        (root / "cat" / "z.png").symlink_to("absent.png")

    with pytest.raises(UserError, match=r"cat/z\.png is not a readable image .*No such file .*on_error skip"):
        make("image_folder", link).setup()
    (module := make("image_folder", on_error="skip")).setup()
    assert module.summary().endswith("3 classes; 1 file skipped")


def test_a_run_prints_what_was_found(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make("image_folder").root
    flags = ["--data=image_folder", f"--data.root={root}", "--data.size=16", "--evaluation.protocols=[knn]"]
    assert main(["evaluate", "pixels", *flags, f"--out={tmp_path / 'runs'}"]) == 0
    first, *_ = capsys.readouterr().out.splitlines()
    assert first == f"{root.name}: 21 train, 3 validation, 6 test images, 3 classes"
    train = ["fit", "--method=vae", *flags[:3], "--epochs=1", "--trainer.accelerator=cpu", "--data.batch_size=4"]
    assert main([*train, f"--out={tmp_path / 'runs'}"]) == 0
    _, first, *_ = capsys.readouterr().out.splitlines()
    assert first == f"{root.name}: 21 train, 3 validation, 6 test images, 3 classes"
