"""SIGTERM during training: all ranks stop after the same step, and the same command resumes exactly there."""

import csv
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ssl_bench.cli import main
from ssl_bench.methods.checkpoint import load_method
from tests.runs.test_train import QUICK, only_run

COMMAND = ["fit", "--method", "simvae", "--data", "digits", "--epochs", "3", *QUICK]
SCRIPT = """
import os, signal, sys
from ssl_bench.callbacks import termination
from ssl_bench.cli import main
from ssl_bench.methods.simvae import SimVAE

training_step = SimVAE.training_step

def signalled(self, batch, batch_idx):
    step, ranks = os.environ["SIGNAL"].split(":")
    if self.global_step == int(step) and os.environ.get("LOCAL_RANK", "0") in ranks:
        os.kill(os.getpid(), signal.SIGTERM)
    return training_step(self, batch, batch_idx)

SimVAE.training_step = signalled
termination.REACTION = 0.0  # agree in every step: the step at which they stop would depend on the speed
sys.exit(main(sys.argv[1:]))
"""


def run(folder: Path, *flags: str, at: str = "-1:") -> subprocess.CompletedProcess[str]:
    """Run the command; at step S of "S:RANKS", the processes of those ranks receive SIGTERM."""
    script = folder / "signalled.py"
    script.write_text(SCRIPT, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, str(script), *COMMAND, f"--out={folder / 'runs'}", *flags],
        env=os.environ | {"SIGNAL": at, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        output, error = process.communicate(timeout=240)  # until every rank has closed its output
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(process.args, process.returncode, output, error)


def checkpoint(folder: Path) -> dict[str, torch.Tensor]:
    return load_method(only_run(folder / "runs")).state_dict()


def logged(folder: Path) -> list[tuple[str, str]]:
    """Logged steps and losses of all sessions."""
    files = sorted(only_run(folder / "runs").glob("logs/version_*/metrics.csv"))
    return [(row["step"], row["train/loss"]) for file in files for row in csv.DictReader(file.open())]


def lines(result: subprocess.CompletedProcess[str]) -> list[str]:
    """Lines on stderr, without Python's warnings."""
    return [line for line in result.stderr.splitlines() if line.startswith("ssl-bench") or "Error" in line]


def test_a_process_stops_after_the_current_step_and_resumes_exactly_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("once", "stopped"):
        (tmp_path / name).mkdir()
    assert main([*COMMAND, f"--out={tmp_path / 'once' / 'runs'}"]) == 0
    stopped = run(tmp_path / "stopped", at="30:0")
    assert stopped.returncode == 1
    assert lines(stopped) == ["ssl-bench: terminated; the same command resumes from step 31"]
    capsys.readouterr()
    assert main([*COMMAND, f"--out={tmp_path / 'stopped' / 'runs'}"]) == 0
    assert re.findall(r"epoch (\d)/3", capsys.readouterr().out) == ["2", "3"]
    once, after = checkpoint(tmp_path / "once"), checkpoint(tmp_path / "stopped")
    assert all(torch.equal(once[name], after[name]) for name in once)
    assert logged(tmp_path / "stopped") == logged(tmp_path / "once")


def test_two_ranks_stop_after_the_same_step_whichever_receives_the_signal(tmp_path: Path) -> None:
    devices = ["--devices=2", "--data.batch_size=64"]
    for name in ("once", "stopped"):
        (tmp_path / name).mkdir()
    assert run(tmp_path / "once", *devices).returncode == 0
    for step, ranks in ((2, "1"), (5, "0"), (20, "01")):
        stopped = run(tmp_path / "stopped", *devices, at=f"{step}:{ranks}")
        assert stopped.returncode == 1
        assert lines(stopped) == [f"ssl-bench: terminated; the same command resumes from step {step + 1}"]
    assert run(tmp_path / "stopped", *devices).returncode == 0
    once, after = checkpoint(tmp_path / "once"), checkpoint(tmp_path / "stopped")
    assert all(torch.equal(once[name], after[name]) for name in once)
