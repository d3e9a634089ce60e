"""Launcher of a sweep on a Slurm cluster, by submitit (https://github.com/facebookincubator/submitit)."""

import re
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from ssl_bench.errors import RunError, UserError
from ssl_bench.runs.sweep_jobs import LOGS, Finished, carry_out, command_of, log_of
from ssl_bench.runs.sweep_plan import PlannedRun

PAUSE = 1.0
"""Interval in seconds at which the jobs are polled. submitit asks Slurm less often."""
TIMEOUTS = 10_000
"""Number of times that a job is queued again after its time has ended; submitit's default is 3."""
GRACE = 120.0
"""Seconds that a job waits for its end after its run was terminated."""


class BenchJob:
    """A command of `ssl-bench` as a job of submitit.

    Before the cluster pre-empts the job or its time ends, submitit calls `checkpoint` and queues what it returns.

    Args:
        command: the command.
        log: file that its output is appended to.
        folder: working directory of the command.
    """

    def __init__(self, command: Sequence[str], log: Path, folder: Path):
        self.command, self.log, self.folder = command, log, folder

    def __call__(self) -> None:
        """Carry out the command.

        Raises:
            RunError: the command failed.
        """
        reason = carry_out(self.command, self.log, self.folder)
        if reason.startswith("terminated"):
            time.sleep(GRACE)  # Slurm has sent SIGTERM to all processes of the job, and queues it again
        if reason:
            raise RunError(reason)

    def checkpoint(self) -> Any:
        """The same job, which resumes the run from its last checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(BenchJob(self.command, self.log, self.folder))


def run_slurm(
    runs: Sequence[PlannedRun],
    trust: Sequence[str],
    *,
    hours: float,
    partition: str,
    cpus: int,
    gpus: int,
    cluster: str = "slurm",
) -> Generator[Finished, None, None]:
    """Submit all runs as one job array. If it is closed, jobs that have not ended are cancelled.

    Args:
        runs: the runs; their folders are on storage that all nodes share.
        trust: folders whose files the runs trust.
        hours: time limit of a job; a run that takes longer is queued again and resumes.
        partition: partition of the cluster; empty for its default.
        cpus: CPU cores of a run.
        gpus: GPUs of a run.
        cluster: ``slurm``, or ``local`` for processes on this machine.

    Yields:
        Each run when it has ended.

    Raises:
        UserError: Slurm refuses the jobs.
    """
    import submitit

    folder = runs[0].folder.parent.absolute() / LOGS
    executor = submitit.AutoExecutor(folder=folder, cluster=cluster, slurm_max_num_timeout=TIMEOUTS)
    executor.update_parameters(name="ssl-bench", timeout_min=round(60 * hours), cpus_per_task=cpus, gpus_per_node=gpus)
    if partition:
        executor.update_parameters(slurm_partition=partition)
    began, here = time.monotonic(), Path.cwd()
    try:
        with executor.batch():
            submitted = [executor.submit(BenchJob(command_of(run, trust), log_of(run), here)) for run in runs]
    except submitit.core.utils.FailedJobError as error:
        reason = " ".join(str(error).split())
        flags = "--slurm.partition, --slurm.hours, --cpus and --gpus"
        raise UserError(f"--launcher slurm: Slurm refuses the jobs: {reason}; see {flags}") from error
    waiting = dict(zip(submitted, runs, strict=True))
    try:
        while waiting:
            time.sleep(PAUSE)
            for job in [job for job in waiting if job.done()]:
                run = waiting.pop(job)
                yield Finished.of(run, time.monotonic() - began, "" if run.done else reason_of(job))
    finally:
        for job in waiting:
            job.cancel()


def reason_of(job: Any) -> str:
    """Why a job failed: the reason of `BenchJob`, or Slurm's state of a job that has no result; empty if it did not."""
    if (error := job.exception()) is None:
        return ""
    found = re.search(r"RunError: (.+)", str(error))
    return found[1] if found else str(error).strip().splitlines()[0]
