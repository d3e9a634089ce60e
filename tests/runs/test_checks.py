"""Checks of a run folder before anything is written to it."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssl_bench.cli import main
from ssl_bench.runs.checks import check_devices
from ssl_bench.runs.launch import devices_of
from tests.runs.test_train import BENCH


@pytest.mark.parametrize("place", ["features", "figures/loss.png", "checkpoints/last.ckpt", "logs"])
@pytest.mark.parametrize("target", ["elsewhere", "../../elsewhere/missing"])
def test_a_link_out_of_the_run_folder_is_refused_and_nothing_is_written_through_it(
    place: str, target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    run = tmp_path / "run"
    (run / place).parent.mkdir(parents=True)
    (run / "config.yaml").write_text("{}")
    (run / place).symlink_to(outside if target == "elsewhere" else target)
    assert main(["evaluate", str(run)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{run / place} is a link out of the run folder" in line
    assert list(outside.iterdir()) == []


def test_a_pipe_in_the_run_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text("{}")
    os.mkfifo(tmp_path / ".lock")
    assert main(["evaluate", str(tmp_path)]) == 2
    assert f"{tmp_path / '.lock'} is a pipe, socket or device" in capsys.readouterr().err


def test_a_run_folder_that_is_a_link_and_links_inside_it_are_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "run").symlink_to(disk)
    (disk / "latest").symlink_to("run-1")
    (disk / "config.yaml").write_text("names: 1")
    main(["evaluate", str(tmp_path / "run")])
    assert "is a link" not in capsys.readouterr().err


def test_training_does_not_resume_through_a_link_out_of_the_run_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*BENCH, "--epochs=0", f"--out={tmp_path / 'runs'}"]
    assert main(["fit", *command[1:]]) == 0
    (run,) = (tmp_path / "runs").iterdir()
    (tmp_path / "elsewhere").mkdir()
    (run / "features").symlink_to(tmp_path / "elsewhere")
    assert main(command) == 2
    assert f"{run / 'features'} is a link out of the run folder" in capsys.readouterr().err
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_run_that_was_logged_to_wandb_is_found_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The logs of wandb contain a link to its cache."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.chdir(tmp_path)
    command = [*BENCH, "--epochs=0", "--out=runs"]
    assert main(command) == 0
    assert any(path.is_symlink() for path in tmp_path.glob("runs/*/wandb/*/logs/*"))
    capsys.readouterr()
    assert main(command) == 0
    assert "already recorded" in capsys.readouterr().out


def test_the_record_of_another_run_is_refused_and_not_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*BENCH, "--epochs=0", "--evaluation.protocols=[knn]", "--evaluation.knn.k=[1]"]
    for seed in "01":
        assert main([*command, f"--out={tmp_path}", f"--seed={seed}"]) == 0
    first, second = sorted(tmp_path.iterdir())
    own = (second / "metrics.json").read_text()
    for name in ("config.yaml", "checkpoints/last.ckpt"):
        (first / name).write_bytes((second / name).read_bytes())
    (second / "metrics.json").write_text(before := (first / "metrics.json").read_text())
    capsys.readouterr()
    assert main(["evaluate", str(first), "--evaluation.knn.k=[3]"]) == 2
    assert main([*command, f"--out={tmp_path}", "--seed=1"]) == 2
    for folder, line in zip((first, second), capsys.readouterr().err.splitlines(), strict=True):
        assert f"{folder / 'metrics.json'} is the record of another run (simvae on digits, seed 0, " in line
        assert (folder / "metrics.json").read_text() == before
    (second / "metrics.json").write_text(own)
    assert main([*command, f"--out={tmp_path}", "--seed=1"]) == 0


@pytest.mark.parametrize("epochs", ["-1", "null"])
def test_a_file_cannot_let_training_run_without_end(
    epochs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "endless.yaml").write_text(f"trainer: {{max_epochs: {epochs}}}")
    command = [flag for flag in BENCH if flag not in ("--epochs", "2")]
    flags = [f"--config={tmp_path / 'endless.yaml'}", f"--out={tmp_path / 'runs'}"]
    assert main([*command, *flags, "--trainer.max_steps=-1"]) == 2
    assert f"trainer.max_epochs must be an integer of at least 0, got {epochs}: " in capsys.readouterr().err
    assert main(["fit", *command[1:], *flags, "--trainer.max_steps=1"]) == 0


def test_the_name_of_the_data_of_scored_features_is_no_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "x.npz", features=np.zeros((40, 2), np.float32), labels=np.arange(40) % 2)
    run = tmp_path / "runs" / "run"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(f"{{features: {tmp_path / 'x.npz'}, labels: null, data: /../../outside}}")
    assert main(["evaluate", str(run), "--evaluation.protocols=[knn]"]) == 2
    assert "is not a valid name" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs", "x.npz"]


@pytest.mark.parametrize("devices", ["0", "5000", "two", "1.5", ""])
def test_devices_that_cannot_be_are_refused_by_commands_that_score(
    devices: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "pixels", "--data=digits", f"--devices={devices}"]) == 2
    expected = f"--devices must be a number of devices, indices such as 0,1 or auto, got {devices!r}"
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("devices", "accelerator", "expected"),
    [("auto", "cpu", "auto"), ("-1", "cuda", "auto"), ("2", "cuda", 2), ("0,1", "cuda", [0, 1]), ("1,", "cuda", [1]),
     ("[3]", "cuda", [3]), ("0,1", "cpu", 2)],
)  # fmt: skip
def test_devices_are_given_to_lightning_as_those_of_training(devices: str, accelerator: str, expected: Any) -> None:
    check_devices(devices)
    assert devices_of(devices, accelerator) == expected
