"""`ssl-bench evaluate`: runs, baselines, external encoders, files of features."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from ssl_bench.cli import main
from tests.runs.test_train import BENCH, only_run

CPU = "--trainer.accelerator=cpu"
KNN = ["--evaluation.protocols=[knn]", "--evaluation.knn.k=[1]"]


def record_of(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return record


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One finished run, scored by one protocol."""
    out = tmp_path_factory.mktemp("runs")
    assert main([*BENCH, *KNN, f"--out={out}"]) == 0
    return only_run(out)


def test_a_run_is_scored_again_and_new_metrics_are_added_to_its_record(run: Path) -> None:
    before = record_of(run)
    assert main(["evaluate", str(run), *KNN, "--evaluation.knn.k=[1,3]"]) == 0
    again = record_of(run)
    for key in ("command", "config_hash", "seed", "epochs"):
        assert again[key] == before[key]
    assert again["metrics"].items() >= before["metrics"].items()
    assert set(again["metrics"]) - set(before["metrics"]) == {"knn_3/accuracy", "knn_3_euclidean/accuracy"}
    assert len(again["evaluations"]) == 1


def test_settings_of_another_run_are_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run), "--seed=7"]) == 2
    assert "--seed does not go with" in capsys.readouterr().err
    assert main(["evaluate", str(run), "--data.batch_size=7"]) == 2
    assert "evaluate RUN takes --evaluation.KEY and --data.root only, got --data.batch" in capsys.readouterr().err


@pytest.mark.parametrize(("encoder", "lowest"), [("pixels", 95), ("pca", 95), ("random", 70), ("timm/test_resnet", 25)])
def test_an_encoder_is_scored_and_printed_under_its_name(
    encoder: str, lowest: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", encoder, "--data", "digits", f"--out={tmp_path}", CPU, *KNN]) == 0
    name = encoder.replace("/", "-")
    assert name in capsys.readouterr().out
    folder = only_run(tmp_path)
    assert folder.name.startswith(f"{name}-digits-s0-")
    record = record_of(folder)
    assert (record["method"], record["data"], record["epochs"]) == (name, "digits", 0)
    assert record["metrics"]["knn_1/accuracy"] > lowest
    assert main(["evaluate", str(folder), *KNN]) == 0
    assert record_of(folder)["metrics"] == record["metrics"]


def test_settings_of_an_encoder_are_flags(tmp_path: Path) -> None:
    flags = ["--method.components=5", "--data.batch_size=64", "--seed=3", f"--out={tmp_path}", CPU, *KNN]
    assert main(["evaluate", "pca", "--data", "digits", *flags]) == 0
    manifest = json.loads((only_run(tmp_path) / "features" / "manifest.json").read_text())
    assert manifest["shapes"]["test"][1] == 5


@pytest.fixture
def features(tmp_path: Path) -> Path:
    digits = load_digits()
    path = tmp_path / "external.npz"
    np.savez(path, features=digits.data.astype(np.float32), labels=digits.target)
    return path


def test_features_in_a_file_are_scored_by_every_protocol_of_features(
    features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--evaluation.mlp_probe.max_epochs=2", "--evaluation.maps.method=pca", f"--out={tmp_path / 'runs'}"]
    assert main(["evaluate", str(features), "--data", "digits", *flags]) == 0
    assert "external" in capsys.readouterr().out
    folder = only_run(tmp_path / "runs")
    record = record_of(folder)
    assert record["failed"] == {}
    assert set(record["seconds"]) == {"linear_probe", "svm", "mlp_probe", "knn", "kmeans", "gmm", "rank", "maps"}
    assert record["metrics"]["svm/accuracy"] > 94
    assert record["metrics"]["knn_1/accuracy"] > 97
    assert (folder / "figures" / "map.png").is_file()
    assert main(["evaluate", str(folder), *KNN]) == 0
    assert record_of(folder)["metrics"] == record["metrics"]


def test_two_processes_have_the_metrics_of_one(features: Path, tmp_path: Path) -> None:
    found = []
    for devices in (1, 2):
        out = tmp_path / str(devices)
        command = ["evaluate", str(features), f"--devices={devices}", f"--out={out}"]
        flags = ["--evaluation.protocols=[svm,knn,kmeans,rank]"]
        done = subprocess.run(
            [sys.executable, "-m", "ssl_bench.cli", *command, *flags], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        found.append(record_of(only_run(out))["metrics"])
    assert found[1] == pytest.approx(found[0], rel=1e-5)


def test_augmented_passes_are_encoded_once(tmp_path: Path) -> None:
    flags = ["--evaluation.protocols=[linear_probe_sgd,rank]", "--evaluation.linear_probe_sgd.passes=2"]
    quick = ["--evaluation.linear_probe_sgd.epochs=3", "--evaluation.augmentation=crop_flip"]
    assert main(["evaluate", "pixels", "--data", "digits", f"--out={tmp_path}", CPU, *flags, *quick]) == 0
    folder = only_run(tmp_path)
    record = record_of(folder)
    assert record["failed"] == {}
    assert record["metrics"]["rank/alignment"] > 0
    assert record["metrics"]["linear_probe_sgd/accuracy"] > 20
    made = sorted((folder / "features").glob("augmented-*/manifest.json"))
    assert len(made) == 2
    times = [path.stat().st_mtime_ns for path in made]
    assert main(["evaluate", str(folder), *flags, *quick]) == 0
    assert [path.stat().st_mtime_ns for path in made] == times


def test_metrics_record_their_settings_and_a_failure_removes_none(
    features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = f"--out={tmp_path / 'runs'}"
    assert main(["evaluate", str(features), out, *KNN]) == 0
    folder = only_run(tmp_path / "runs")
    before = record_of(folder)
    assert set(before["scored"]) == set(before["metrics"])
    assert main(["evaluate", str(features), out, *KNN, "--evaluation.knn.weights=[exponential,uniform]"]) == 0
    after = record_of(folder)
    assert after["scored"]["knn_1/accuracy"] != before["scored"]["knn_1/accuracy"]
    capsys.readouterr()
    assert main(["evaluate", str(features), out, *KNN, "--evaluation.knn.k=[100000]"]) == 1
    record = record_of(folder)
    assert record["metrics"] == after["metrics"]  # of the settings that did not fail
    assert "k = 100000" in record["failed"]["knn"]
    output = capsys.readouterr()
    assert "knn failed: knn: k = 100000" in output.out
    assert "no protocol has scores; 1 failed, knn: knn: k = 100000" in output.err


def test_each_protocol_announces_itself_with_its_time(
    features: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flags = ["--evaluation.protocols=[knn,kmeans,reconstruction]"]
    assert main(["evaluate", str(features), *flags, f"--out={tmp_path / 'runs'}"]) == 0
    first, second, third, *_ = capfd.readouterr().out.splitlines()
    assert re.fullmatch(r"knn  \d+\.\d s", first)
    assert re.fullmatch(r"kmeans  \d+\.\d s", second)
    assert re.fullmatch(r"reconstruction  \d+\.\d s  failed: .+", third)


def test_devices_must_be_a_number(features: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(features), "--devices=two"]) == 2
    assert "--devices must be a number of devices, indices such as 0,1 or auto, got 'two'" in capsys.readouterr().err
