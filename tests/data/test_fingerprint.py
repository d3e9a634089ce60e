"""Fingerprints of data: which data sets are the same, in every process."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ssl_bench.data.contents import DatasetContents
from ssl_bench.data.fingerprint import check_data, fingerprint, record_data
from ssl_bench.data.module import DataModule
from ssl_bench.data.types import Target
from ssl_bench.distributed import rank
from ssl_bench.errors import UserError
from ssl_bench.results.fingerprint import Fingerprint
from tests.ranks import Ranks

LABELS = torch.arange(200) % 4


def pictures(seed: int = 0, size: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (200, 1, 1, 1), generator=generator, dtype=torch.uint8).expand(-1, 1, size, size)


class Images(DataModule):
    """Images in memory."""

    name = "images"
    mean = std = (0.5,)
    licence = ""

    def __init__(self, images: Any, labels: Tensor = LABELS, classes: str = "abcd", size: int = 8) -> None:
        super().__init__()
        self.image_shape = (1, size, size)
        self.contents = DatasetContents(images, labels, (Target("class", tuple(classes)),), torch.arange(len(labels)))

    def read(self) -> DatasetContents:
        return self.contents


def ready(*arguments: Any, **options: Any) -> Images:
    data = Images(*arguments, **options)
    data.setup()
    return data


def difference(first: DataModule, second: DataModule) -> str:
    return fingerprint(first).difference(fingerprint(second))


def test_other_images_with_the_same_labels_are_other_data() -> None:
    assert difference(ready(pictures(0)), ready(pictures(1))) == "pixels"
    assert difference(ready(pictures(0)), ready(pictures(0))) == ""


@pytest.mark.parametrize("axis", [2, 3])
def test_mirrored_images_are_other_data(axis: int) -> None:
    images = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8).expand(200, -1, -1, -1)
    assert difference(ready(images), ready(images.flip(axis))) == "pixels"


def test_the_same_images_of_another_jpeg_decoder_are_the_same_data() -> None:
    images = pictures()
    noise = torch.randint(-1, 2, images.shape, generator=torch.Generator().manual_seed(0))
    assert difference(ready(images), ready((images + noise).clamp(0, 255).to(torch.uint8))) == ""


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"labels": LABELS.flip(0)}, "labels"),
        ({"classes": "abce"}, "classes"),
        ({"images": pictures(size=4), "size": 4}, "shape of the images"),
        ({"images": pictures()[:160], "labels": LABELS[:160]}, "number of images (train: 144, expected 116)"),
    ],
)
def test_the_difference_is_named(changes: dict[str, Any], what: str) -> None:
    assert difference(ready(pictures()), ready(**({"images": pictures()} | changes))) == what


def test_only_a_few_images_that_are_decoded_when_they_are_read_are_read() -> None:
    class Lazy:
        read = 0

        def __getitem__(self, rows: Tensor) -> Tensor:
            self.read += len(rows)
            return pictures()[rows]

    lazy = Lazy()
    assert fingerprint(ready(lazy)) == fingerprint(ready(pictures()))
    assert lazy.read == 32


def test_the_images_are_read_once_when_the_data_are_recorded(tmp_path: Path) -> None:
    images = ready(pictures())
    test, rows = images.split("test"), []
    original = type(test).__getitem__

    def counted(self: Any, index: Any) -> Any:
        rows.append(len(index))
        return original(self, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(test), "__getitem__", counted)
        record_data(images, tmp_path)
    assert sum(rows) == 32


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1e-3, 0.0), (1e4, 0.0), (4.0, -2.0)])
def test_images_of_floats_may_have_any_range(scale: float, offset: float) -> None:
    first, second = (pictures(seed) / 255 * scale + offset for seed in (0, 1))
    noise = torch.rand(first.shape, generator=torch.Generator().manual_seed(0)).sub(0.5) / 255 * scale
    assert difference(ready(first), ready(first + noise)) == ""
    assert difference(ready(first), ready(second)) == "pixels"
    assert difference(ready(first), ready(first + scale / 50)) == "pixels"


def test_images_with_nan_are_equal_to_themselves_and_to_no_others() -> None:
    images = pictures() / 255
    assert difference(ready(images / 0 - images / 0), ready(images / 0 - images / 0)) == ""
    some = images.clone()
    some[::2] = float("nan")
    assert difference(ready(some), ready(some)) == ""
    assert difference(ready(some), ready(images)) == "pixels"


def test_every_data_set_has_a_fingerprint_that_a_file_keeps(module: DataModule, tmp_path: Path) -> None:
    found = fingerprint(module)
    assert sum(found.images[split] for split in ("train", "validation", "test")) > 0
    record_data(module, tmp_path)
    assert Fingerprint.read(tmp_path) == found == Fingerprint.of(json.loads(json.dumps(asdict(found))))


def test_a_run_folder_is_refused_for_other_data_in_one_line(tmp_path: Path) -> None:
    record_data(ready(pictures(0)), tmp_path)
    record_data(ready(pictures(0)), tmp_path)
    with pytest.raises(UserError) as error:
        record_data(ready(pictures(1)), tmp_path)
    assert str(error.value) == (
        f"{tmp_path} is a run on other data than those in data: different pixels; give another --out"
    )
    assert Fingerprint.read(tmp_path) == fingerprint(ready(pictures(0)))


def test_without_a_recorded_fingerprint_any_data_are_accepted(tmp_path: Path) -> None:
    check_data(ready(pictures()), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_fingerprint_is_one_line(tmp_path: Path) -> None:
    for content in ("", "{}", "[]", '{"images": 1'):
        (tmp_path / "data.json").write_text(content)
        with pytest.raises(UserError, match=r"data\.json is damaged: delete it"):
            record_data(ready(pictures()), tmp_path)


def recorded(folder: str, seed: int) -> str:
    """What one rank finds, or the message of its error."""
    data = ready(pictures(seed))
    try:
        record_data(data, Path(folder))
    except UserError as error:
        return str(error)
    return fingerprint(data).digest


def test_all_ranks_find_the_same_fingerprint_and_all_refuse_other_data(ranks: Ranks, tmp_path: Path) -> None:
    alone = fingerprint(ready(pictures(0))).digest
    assert ranks(recorded, str(tmp_path), 0) == [alone, alone]
    refused = ranks(recorded, str(tmp_path), 1)
    assert refused[0] == refused[1]
    assert "different pixels" in refused[0]


def recorded_where_the_file_is_seen_by_rank_0_only(folder: str) -> str:
    """What each rank finds with data of its own; the folders of the ranks differ, as a cache of NFS may."""
    own = Path(folder, str(rank()))
    own.mkdir()
    return recorded(str(own), rank())


def test_a_rank_that_does_not_see_the_file_yet_refuses_other_data(ranks: Ranks, tmp_path: Path) -> None:
    first, second = ranks(recorded_where_the_file_is_seen_by_rank_0_only, str(tmp_path))
    assert first == fingerprint(ready(pictures(0))).digest
    assert "different pixels" in second
