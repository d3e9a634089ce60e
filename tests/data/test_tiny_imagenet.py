"""Tiny ImageNet: archive and class names."""

import shutil
from pathlib import Path

import torch

from tests.data.conftest import Make
from tests.data.samples import WNIDS


def pack(root: Path) -> None:
    folder = root / "tiny-imagenet-200"
    shutil.make_archive(str(folder), "zip", root, folder.name)
    shutil.rmtree(folder)


def test_the_archive_gives_the_same_images_as_the_folder(make: Make) -> None:
    images = []
    for damage in (None, pack):
        module = make("tiny_imagenet", damage)
        module.setup()
        images.append(module.split("test")[torch.arange(6)].images)
    assert torch.equal(*images)


def test_classes_are_in_the_order_of_their_ids_and_named(make: Make) -> None:
    module = make("tiny_imagenet")
    module.setup()
    assert module.targets[0].classes == tuple(f"name of {wnid}" for wnid in sorted(WNIDS))
