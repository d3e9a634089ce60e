"""Launcher of a sweep on a Slurm cluster, by submitit (https://github.com/facebookincubator/submitit)."""

import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from ssl_bench.errors import RunError
from ssl_bench.runs.sweep_jobs import LOGS, Finished, carry_out, command_of, last_line, log_of
from ssl_bench.runs.sweep_plan import PlannedRun

PAUSE = 1.0
"""Seconds between looks at the jobs. submitit asks Slurm less often."""


GRACE = 120.0
"""Seconds that a job waits for its end after its run was terminated."""


class BenchJob:
    """`ssl-bench bench` as a job of submitit.

    Before the cluster pre-empts the job or its time ends, submitit calls `checkpoint` and queues what it returns.

    Args:
        command: the command.
        log: file that its output is appended to.
    """

    def __init__(self, command: Sequence[str], log: Path):
        self.command, self.log = command, log

    def __call__(self) -> None:
        """Carry out the command.

        Raises:
            RunError: the command failed.
        """
        reason = carry_out(self.command, self.log)
        if reason.startswith("terminated"):
            time.sleep(GRACE)  # Slurm has sent SIGTERM to all processes of the job, and queues it again
        if reason:
            raise RunError(reason)

    def checkpoint(self) -> Any:
        """The same job, which resumes the run from its last checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(BenchJob(self.command, self.log))


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
    """
    import submitit

    executor = submitit.AutoExecutor(folder=runs[0].folder.parent.absolute() / LOGS, cluster=cluster)
    executor.update_parameters(name="ssl-bench", timeout_min=round(60 * hours), cpus_per_task=cpus, gpus_per_node=gpus)
    if partition:
        executor.update_parameters(slurm_partition=partition)
    began = time.monotonic()
    with executor.batch():
        submitted = [executor.submit(BenchJob(command_of(run, trust), log_of(run))) for run in runs]
    waiting = dict(zip(submitted, runs, strict=True))
    try:
        while waiting:
            time.sleep(PAUSE)
            for job in [job for job in waiting if job.done()]:
                run = waiting.pop(job)
                yield Finished(run, time.monotonic() - began, "" if run.done else reason_of(job, run))
    finally:
        for job in waiting:
            job.cancel()


def reason_of(job: Any, run: PlannedRun) -> str:
    """Why a job failed: the last line of the run's log, or of submitit's error if the run has not started."""
    if log_of(run).is_file():
        return last_line(log_of(run))
    return str(job.exception()).strip().splitlines()[-1]
