"""Several commands on one run folder at the same time: they never mix."""

import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ssl_bench import lock
from ssl_bench.cli import main
from tests.runs.test_train import QUICK, only_run

LIMIT = 300.0  # seconds, far more than anything here takes
FIT = ["fit", "--method", "simvae", "--data", "digits", *QUICK]
KNN = "--evaluation.protocols=[knn]"
SSL_BENCH = [sys.executable, "-m", "ssl_bench.cli"]


def test_a_run_that_another_process_trains_is_refused_until_that_process_has_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*FIT, "--epochs=5000", f"--out={tmp_path}"]
    process = subprocess.Popen([*SSL_BENCH, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + LIMIT
        while not list(tmp_path.glob("*/checkpoints/last.ckpt")) and time.monotonic() < deadline:
            time.sleep(0.05)
        folder = only_run(tmp_path)
        for second in (command, ["bench", *command[1:]], ["evaluate", str(folder), KNN]):
            capsys.readouterr()
            assert main(second) == 1
            (line,) = capsys.readouterr().err.splitlines()
            assert f"{folder} is in use by process {process.pid} on " in line
            assert "give --wait" in line
    finally:
        process.kill()
        process.wait(LIMIT)
    assert (folder / ".lock").is_file()
    assert main(["evaluate", str(folder), KNN]) == 0
    assert (folder / "metrics.json").is_file()
    assert not list(folder.glob(".lock*"))


def test_two_equal_commands_that_wait_train_once_and_both_succeed(tmp_path: Path) -> None:
    command = [*SSL_BENCH, "bench", *FIT[1:], "--epochs=4", KNN, f"--out={tmp_path}", "--wait"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=LIMIT)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    folder = only_run(tmp_path)
    assert json.loads((folder / "metrics.json").read_text())["epochs"] == 4
    assert sorted("already recorded" in output for output in outputs) == [False, True]
    assert all(str(folder) in output for output in outputs)
    (log,) = folder.glob("logs/*/metrics.csv")
    with log.open(newline="") as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert steps == sorted(set(steps))


def test_a_recorded_run_is_printed_from_a_folder_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: object) -> bool:
        raise OSError(30, "Read-only file system")

    command = ["bench", *FIT[1:], "--epochs=0", KNN, f"--out={tmp_path}"]
    assert main(command) == 0
    monkeypatch.setattr(lock, "_create", read_only)
    assert main(command) == 0
    assert "already recorded" in capsys.readouterr().out
    assert main([*command, "--seed=1"]) == 2
    assert "cannot write to" in capsys.readouterr().err


def test_a_file_of_features_is_scored_by_one_process_at_a_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = np.arange(60) % 3
    np.savez(tmp_path / "f.npz", features=np.eye(3, dtype=np.float32)[labels], labels=labels)
    command = ["evaluate", str(tmp_path / "f.npz"), KNN, "--evaluation.knn.k=[1]", f"--out={tmp_path / 'runs'}"]
    assert main(command) == 0
    with lock.folder_lock(only_run(tmp_path / "runs")):
        assert main(command) == 1
    assert "is in use by process" in capsys.readouterr().err
    assert main(command) == 0
