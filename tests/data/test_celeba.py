"""CelebA: targets, partition, archive."""

import io
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw

from ssl_bench.data.celeba import hair_colour
from tests.data.conftest import Make
from tests.data.samples import ATTRIBUTES


def test_all_targets_are_the_attributes_and_hair(make: Make) -> None:
    module = make("celeba", target="all")
    module.setup()
    names = [target.name for target in module.targets]
    assert names == ["gender" if name == "Male" else name for name in ATTRIBUTES] + ["hair"]
    labels = module.split("train").labels
    assert labels.shape == (20, 41)
    assert torch.equal(labels[:, names.index("gender")], torch.arange(20) % 2)
    assert torch.equal(labels[:, names.index("Blond_Hair")], (torch.arange(20) % 5 == 1).long())
    assert torch.equal(labels[:, names.index("hair")], torch.arange(20) % 5)


def test_one_target_is_selected_by_name(make: Make) -> None:
    module = make("celeba", target="gender")
    module.setup()
    assert [target.name for target in module.targets] == ["gender"]
    assert torch.equal(module.split("test").labels, torch.arange(25, 30) % 2)


def test_the_official_partition_is_used(make: Make) -> None:
    module = make("celeba")
    module.setup()
    parts = [module.split(split).rows.tolist() for split in ("train", "validation", "test")]
    assert parts == [list(range(20)), list(range(20, 25)), list(range(25, 30))]


def unpack(root: Path) -> None:
    archive = root / "celeba" / "img_align_celeba.zip"
    zipfile.ZipFile(archive).extractall(root / "celeba")
    archive.unlink()


def test_the_unpacked_folder_gives_the_same_images(make: Make) -> None:
    index = torch.arange(20)
    images = []
    for damage in (None, unpack):
        module = make("celeba", damage)
        module.setup()
        images.append(module.split("train")[index].images)
    assert torch.equal(*images)


def test_hair_colour_needs_exactly_one_attribute() -> None:
    attributes = torch.tensor([[1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0], [1, 0, 1, 0], [1, 1, 1, 1]])
    assert hair_colour(attributes).tolist() == [0, 3, 4, -1, -1]


@pytest.mark.parametrize(("edge", "white"), [(16, True), (24, False)])
def test_the_central_square_is_taken(make: Make, edge: int, white: bool) -> None:
    face = Image.new("RGB", (178, 218))  # the square is rows 20 to 197
    ImageDraw.Draw(face).rectangle((0, edge, 177, 217 - edge), fill="white")
    file = io.BytesIO()
    face.save(file, "PNG")

    def replace(root: Path) -> None:
        unpack(root)
        for path in (root / "celeba" / "img_align_celeba").iterdir():
            path.write_bytes(file.getvalue())

    module = make("celeba", replace)
    module.setup()
    images = module.split("test")[torch.arange(5)].images
    assert bool((images[:, :, [0, -1]] == 255).all()) == white
    assert (images[:, :, 2:-2] == 255).all()
