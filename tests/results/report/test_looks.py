"""Pictures and maps of the page."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_bench.results.report.looks import GRID, MAX_WIDTH, aligned_maps, reduced_pictures
from tests.results.report.runs import add_figures


def folders(path: Path, count: int) -> dict[int, Path]:
    found = {i: path / f"run {i}" for i in range(count)}
    for i, folder in found.items():
        folder.mkdir()
        add_figures(folder, i)
    return found


def test_pictures_are_small_and_link_to_the_full_ones(tmp_path: Path) -> None:
    first, *others = reduced_pictures(folders(tmp_path, 2), tmp_path / "pages")
    assert len(others) == 7
    assert first.link == "../run%200/figures/samples.png"
    content = base64.b64decode(first.source.removeprefix("data:image/webp;base64,"))
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.size == first.size
        assert picture.width == MAX_WIDTH


@pytest.mark.parametrize("size", [40_000, 100_000])
def test_all_pictures_together_have_at_most_the_given_size(size: int, tmp_path: Path) -> None:
    found = reduced_pictures(folders(tmp_path, 3), tmp_path, size)
    assert len(found) == 12
    assert sum(3 * len(one.source) // 4 for one in found) <= size


def test_a_damaged_picture_is_left_out(tmp_path: Path) -> None:
    runs = folders(tmp_path, 1)
    (runs[0] / "figures" / "samples.png").write_bytes(b"\x89PNG damaged")
    assert {one.kind for one in reduced_pictures(runs, tmp_path)} == {"reconstructions", "views", "neighbours"}


def test_maps_of_the_same_images_are_aligned_to_the_first(tmp_path: Path) -> None:
    runs = folders(tmp_path, 2)
    for i, folder in runs.items():
        known = json.loads((folder / "figures" / "map.json").read_text())
        points = np.random.default_rng(0).normal(size=(500, 2))
        known |= {"rows": list(range(500)), "labels": [0] * 500}
        name = f"PCA ({20 + i} % of the variance)"
        known["maps"] = {name: (points if i == 0 else 3 * points @ np.array([[0, 1], [-1, 0]]) + 5).tolist()}
        (folder / "figures" / "map.json").write_text(json.dumps(known))
    first, second = aligned_maps(runs)
    assert (first.aligned, second.aligned) == (None, 0)
    assert second.points == first.points
    assert np.abs(first.points).max() <= GRID
    assert np.square(np.array(first.points) * 3 / GRID).sum(1).mean() == pytest.approx(1, rel=0.1)


def test_a_map_of_other_images_is_not_aligned(tmp_path: Path) -> None:
    runs = folders(tmp_path, 2)
    file = runs[1] / "figures" / "map.json"
    known = json.loads(file.read_text())
    file.write_text(json.dumps(known | {"rows": [row + 10_000 for row in known["rows"]]}))
    assert [one.aligned for one in aligned_maps(runs)] == [None, None]


@pytest.mark.parametrize(
    "content", ["", "{", '{"rows": 1}', '{"rows": [1], "labels": [], "maps": {}, "classes": [], "colours": []}']
)
def test_a_damaged_map_is_left_out(content: str, tmp_path: Path) -> None:
    runs = folders(tmp_path, 1)
    (runs[0] / "figures" / "map.json").write_text(content)
    assert aligned_maps(runs) == []
