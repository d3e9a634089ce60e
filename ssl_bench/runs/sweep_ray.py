"""Launcher of a sweep on a Ray cluster (https://docs.ray.io): one task for each run."""

import socket
import time
from collections.abc import Generator, Sequence

from ssl_bench.errors import UserError
from ssl_bench.runs.sweep_jobs import Finished, carry_out, command_of, log_of
from ssl_bench.runs.sweep_plan import PlannedRun

PAUSE = 1.0
"""Seconds between looks for signals."""
CONNECT = 10.0
"""Seconds within which a cluster answers."""
END = 120.0
"""Seconds within which runs that are cancelled write a checkpoint."""


def connect(address: str) -> None:
    """Connect to a cluster; without an address to that of ``RAY_ADDRESS``, or to a new one on this machine.

    Raises:
        UserError: there is no cluster at the address.
    """
    import ray

    try:
        if address and address != "auto":
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), CONNECT).close()  # Ray itself tries for minutes
        ray.init(address=address or None, log_to_driver=False, configure_logging=False)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"--ray.address: no Ray cluster at {address or 'this machine'}: {reason}") from error


def run_ray(
    runs: Sequence[PlannedRun], trust: Sequence[str], *, address: str, cpus: int, gpus: int
) -> Generator[Finished, None, None]:
    """Submit all runs as tasks. A run whose node fails is started again elsewhere and resumes.

    Args:
        runs: the runs; their folders are on storage that all nodes share.
        trust: folders whose files the runs trust.
        address: see `connect`.
        cpus: CPU cores of a run.
        gpus: GPUs of a run.

    Yields:
        Each run when it has ended. If it is closed, tasks that have not ended are cancelled.

    Raises:
        UserError: there is no cluster at the address.
    """
    import ray

    connect(address)
    task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=-1)(carry_out)
    began = time.monotonic()
    waiting = {task.options(name=run.folder.name).remote(command_of(run, trust), log_of(run)): run for run in runs}
    try:
        while waiting:
            ended, _ = ray.wait(list(waiting), timeout=PAUSE)
            for result in ended:
                run = waiting.pop(result)
                try:
                    reason = ray.get(result)
                except ray.exceptions.RayError as error:
                    reason = str(error).strip().splitlines()[-1]
                yield Finished(run, time.monotonic() - began, reason)
    finally:
        for result in waiting:
            ray.cancel(result)
        if waiting:
            ray.wait(list(waiting), num_returns=len(waiting), timeout=END)
        ray.shutdown()
