"""Runs and data that are moved, and runs with other numbers of epochs."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from ssl_bench.cli import main
from tests.runs.test_train import BENCH, only_run

KNN = ["--evaluation.protocols=[knn]", "--evaluation.knn.k=[1]"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of two classes of images of different brightness."""
    random = np.random.default_rng(0)
    for label, name in enumerate(("dark", "light")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for image in range(20):
            pixels = random.integers(100 * label, 100 + 100 * label, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{image}.png")
    return tmp_path / "photos"


def test_a_run_is_scored_where_its_data_are_now(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SSL_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    command = ["evaluate", "pixels", "--data=image_folder", "--data.root=photos", "--data.size=8", *KNN]
    assert main([*command, f"--out={tmp_path / 'runs'}"]) == 0
    folder = only_run(tmp_path / "runs")
    before = (folder / "config.yaml").read_text()
    assert yaml.safe_load(before)["data"]["init_args"]["root"] == str(photos)
    metrics = json.loads((folder / "metrics.json").read_text())["metrics"]

    (tmp_path / "archive").mkdir()
    moved = tmp_path / "archive" / "photos"
    photos.rename(moved)
    folder = folder.rename(tmp_path / "archive" / folder.name)
    monkeypatch.chdir(tmp_path / "archive")
    assert main(["evaluate", str(folder), *KNN]) == 2
    assert "photos" in capsys.readouterr().err
    assert main(["evaluate", folder.name, "--data.root", "photos", *KNN]) == 0
    assert (folder / "config.yaml").read_text() == before
    record = json.loads((folder / "metrics.json").read_text())
    assert record["metrics"] == metrics
    assert folder.name.endswith(record["config_hash"])


def test_a_recorded_run_is_found_from_any_directory_and_after_it_is_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["fit", *BENCH[1:], "--epochs=1"]
    assert main(command) == 0
    folder = only_run(tmp_path / "runs")
    shutil.move(folder.parent, tmp_path / "moved")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    recorded = [f"--config=../moved/{folder.name}/config.yaml"]
    capsys.readouterr()
    assert main(["fit", *recorded]) == 0
    summary = "digits: 1,295 train, 143 validation, 359 test images, 10 classes"
    moved = tmp_path / "moved" / folder.name
    first, second, total, last = capsys.readouterr().out.splitlines()
    assert (first, second, last) == (f"setting up {folder.name}", summary, str(moved))
    assert total.startswith("total ")

    assert main(["fit", *recorded, "--epochs=2"]) == 0
    _, first, *_, last = capsys.readouterr().out.splitlines()
    assert Path(last).parent == tmp_path / "moved"
    assert Path(last) != tmp_path / "moved" / folder.name
    assert (
        first == f"new run {last} (2 epochs); otherwise the same settings: {tmp_path / 'moved' / folder.name} (1 epoch)"
    )
    assert main(["fit", *recorded, "--epochs=2", "--seed=1"]) == 0
    assert "new run" not in capsys.readouterr().out
    assert not list((tmp_path / "elsewhere").iterdir())


def test_the_table_of_features_uses_valid_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "my features (2).npz"
    np.savez(file, features=np.eye(40, dtype=np.float32), labels=np.arange(40) % 2)
    assert main(["evaluate", str(file), *KNN]) == 0
    folder = only_run(tmp_path / "runs")
    assert folder.name.startswith("my_features__2_-my_features__2_-")
    assert main(["evaluate", str(file), "--data=a/b", *KNN]) == 2
    assert only_run(tmp_path / "runs") == folder


def test_a_recorded_name_does_not_leave_the_output_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("features.npz", features=np.eye(40, dtype=np.float32), labels=np.arange(40) % 2)
    (tmp_path / "runs" / "theirs").mkdir(parents=True)
    config: dict[str, Any] = {"features": "features.npz", "labels": None, "data": "../../outside", "evaluation": {}}
    (tmp_path / "runs" / "theirs" / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["evaluate", "runs/theirs", *KNN]) == 2
    assert "'../../outside' is not a valid name" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"features.npz", "runs"}
