"""The command of one run of a sweep, and its log; what all launchers have in common."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ssl_bench.errors import UserError
from ssl_bench.runs.sweep_plan import PlannedRun

LOGS = "logs_of_sweeps"
"""Folder of the outputs of the runs, beside the run folders."""


class Finished(NamedTuple):
    """A run that has ended.

    Attributes:
        run: the run.
        seconds: time since it was started, or submitted to a cluster.
        reason: why it failed; empty if it is recorded.
    """

    run: PlannedRun
    seconds: float
    reason: str


def command_of(run: PlannedRun, trust: Sequence[str]) -> list[str]:
    """Command of a run. A run that another process works on is waited for."""
    command = [sys.executable, "-P", "-m", "ssl_bench.cli", "bench", *run.arguments, "--wait"]
    return [*command, f"--out={run.folder.parent.absolute()}", *(f"--trust={folder}" for folder in trust)]


def log_of(run: PlannedRun) -> Path:
    """File with the output of a run."""
    return run.folder.parent.absolute() / LOGS / f"{run.folder.name}.log"


def start(command: Sequence[str], log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a command whose output is appended to a log.

    Raises:
        UserError: the log cannot be written.
    """
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
            )
    except OSError as error:
        raise UserError(f"cannot write {log}: {error.strerror}: give another folder with --out") from error


def carry_out(command: Sequence[str], log: Path) -> str:
    """Carry out a command on a node of a cluster; the reason if it fails, else empty.

    If the call is interrupted, the command gets SIGTERM, so that the run writes a checkpoint and ends.
    """
    # Lightning would take the tasks of a Slurm job for processes of the training, and requeue the job by itself.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    process = start(command, log, environment)
    try:
        return last_line(log) if process.wait() else ""
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def last_line(log: Path) -> str:
    """The last line of a log that is not empty, without the name of the command."""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("ssl-bench: ") if lines else "no output"
