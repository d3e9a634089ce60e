"""The command of one run of a sweep, and its log; what all launchers have in common."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ssl_bench.errors import UserError
from ssl_bench.runs.sweep_plan import PlannedRun
from ssl_bench.runs.tracking import TABLE_VARIABLE

LOGS = "logs_of_sweeps"
"""Folder of the outputs of the runs, beside the run folders."""
POLL = 1.0
"""Interval in seconds at which a command is polled. A wait without end could not be interrupted in a task of Ray."""


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

    @classmethod
    def of(cls, run: PlannedRun, seconds: float, reason: str) -> "Finished":
        """A run whose command has ended; one without a record has failed."""
        if not reason and run.command == "bench" and not run.done:
            reason = (
                f"the command has ended, but {run.folder} has no record: its settings are others where it ran, such "
                "as the number of devices or the precision; give --devices and --trainer.precision"
            )
        return cls(run, seconds, reason)


class Running(NamedTuple):
    """A command in progress.

    Attributes:
        process: its process.
        log: file that its output is appended to.
        begin: size of the log before the command was started, in bytes.
    """

    process: subprocess.Popen[bytes]
    log: Path
    begin: int

    def reason(self) -> str:
        """Why the command failed, after it has ended: the last line of its output; empty if it did not fail."""
        code = self.process.returncode
        if code < 0:
            return f"killed by signal {-code} ({signal.Signals(-code).name})"
        with self.log.open("rb") as file:
            file.seek(self.begin)
            lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
        return (lines[-1].removeprefix("ssl-bench: ") if lines else "no output") if code else ""


def command_of(run: PlannedRun, trust: Sequence[str]) -> list[str]:
    """Command of a run. A run that another process works on is waited for."""
    tag = ["env", f"{TABLE_VARIABLE}={run.table}"] if run.table else []
    command = [*tag, sys.executable, "-P", "-m", "ssl_bench.cli"]
    out = [f"--out={run.folder.parent.absolute()}"] if run.command != "views" else []
    return [*command, run.command, *run.arguments, "--wait", *out, *(f"--trust={folder}" for folder in trust)]


def log_of(run: PlannedRun) -> Path:
    """File with the output of a run."""
    return run.folder.parent.absolute() / LOGS / f"{run.folder.name}.log"


def start(
    command: Sequence[str],
    log: Path,
    environment: dict[str, str],
    folder: Path | None = None,
    before: Callable[[], object] | None = None,
) -> Running:
    """Start a command whose output is appended to a log.

    The process is in a session of its own, so that Ctrl-C in a terminal reaches the sweep only, which ends the runs
    with SIGTERM: they then write a checkpoint.

    Args:
        command: the command.
        log: the log.
        environment: environment variables.
        folder: working directory; that of this process by default.
        before: function that is called in the new process before the command.

    Raises:
        UserError: the log cannot be written.
    """
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            begin = output.tell()
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment,
                cwd=folder, start_new_session=True, preexec_fn=before,
            )  # fmt: skip
    except OSError as error:
        raise UserError(f"cannot write {log}: {error.strerror}: give another folder with --out") from error
    return Running(process, log, begin)


def carry_out(command: Sequence[str], log: Path, folder: Path) -> str:
    """Carry out a command on a node of a cluster; the reason if it fails, else empty.

    If the call is interrupted, the command gets SIGTERM, so that the run writes a checkpoint and ends.

    Args:
        command: the command.
        log: file that its output is appended to.
        folder: working directory, on storage that all nodes share.
    """
    # Lightning would take the tasks of a Slurm job for processes of the training, and requeue the job by itself.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    # Slurm may send submitit's signal to all processes of a job; without a handler it would kill the run.
    ignored = partial(signal.signal, signal.SIGUSR2, signal.SIG_IGN)
    if not folder.is_dir():
        return f"this node has no folder {folder}: start the sweep in a folder on storage that all nodes share"
    running = start(command, log, environment, folder, ignored)
    try:
        while running.process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.process.wait(POLL)
        return running.reason()
    finally:
        if running.process.poll() is None:
            running.process.terminate()
            running.process.wait()
