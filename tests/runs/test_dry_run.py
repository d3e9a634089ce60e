"""`ssl-bench bench --dry_run`."""

from pathlib import Path

import pytest

from ssl_bench.cli import main
from ssl_bench.config.resolve import build, resolve
from ssl_bench.config.stack import stack
from ssl_bench.runs.dry_run import length, memory_of_a_step, number_of_steps

FLAGS = ["--method=vae", "--data=digits", "--trainer.accelerator=cpu", "--data.batch_size=100", "--epochs=7"]


def test_parameters_steps_and_memory_are_printed_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *FLAGS, "--dry_run"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    method = build(resolve([*stack("vae", "digits", None), "--data.batch_size=100"])).method
    count = sum(parameter.numel() for parameter in method.parameters())
    assert lines["run"].startswith("runs/vae-digits-s0-")
    assert lines["parameters"] == f"{count:,}, of them trained {count:,}"
    assert lines["epoch"] == "1,438 images, 15 steps of 100"
    assert lines["training"] == "7 epochs, 105 steps, precision 32-true"
    assert lines["memory"].endswith("MiB at the peak of a step of one process")
    assert list(tmp_path.iterdir()) == []


def test_memory_is_that_of_two_steps_without_a_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = resolve(
        [*stack("vae", "digits", None), "--trainer.accelerator=cpu", "--trainer.accumulate_grad_batches=2"]
    )
    run = build(config)
    assert memory_of_a_step(run, config) > 0
    trainer = run.method.trainer
    assert trainer.global_step == 2
    assert Path(trainer.default_root_dir) != tmp_path  # views would be recorded in it if it were a run folder


def test_the_batch_of_all_processes_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", *FLAGS, "--devices=2", f"--out={tmp_path}", "--dry_run", "--data.drop_last=false"]) == 0
    assert "epoch       1,438 images, 8 steps of 200 (2 processes)\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("limit", "accumulated", "steps"), [(None, 1, 62), (None, 4, 16), (3, 1, 3), (99, 1, 62), (0.5, 2, 16), (7, 4, 2)]
)
def test_steps_are_those_of_an_epoch(limit: float | None, accumulated: int, steps: int) -> None:
    assert number_of_steps(62, {"limit_train_batches": limit, "accumulate_grad_batches": accumulated}) == steps


@pytest.mark.parametrize(
    ("epochs", "most", "text"),
    [(5, -1, "5 epochs, 50 steps"), (5, 12, "2 epochs, 12 steps"), (5, 99, "5 epochs, 50 steps"),
     (-1, 12, "2 epochs, 12 steps"), (None, -1, "00:01:00:00 (days:hours:minutes:seconds)"),
     (0, -1, "0 epochs, 0 steps")],
)  # fmt: skip
def test_the_length_is_that_of_the_limits(epochs: int | None, most: int, text: str) -> None:
    assert length(10, {"max_epochs": epochs, "max_steps": most, "max_time": "00:01:00:00"}) == text


def test_a_batch_that_is_larger_than_the_data_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = [*FLAGS, "--devices=2", "--data.batch_size=800", f"--out={tmp_path}", "--dry_run"]
    assert main(["bench", *flags]) == 2
    assert "--data.batch_size 800 x 2 processes is more than the 1438 training images" in capsys.readouterr().err
