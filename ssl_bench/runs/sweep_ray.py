"""Launcher of a sweep on a Ray cluster (https://docs.ray.io): one task for each run."""

import os
import re
import socket
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from ssl_bench.errors import UserError
from ssl_bench.runs.sweep_jobs import Finished, carry_out, command_of, log_of
from ssl_bench.runs.sweep_plan import PlannedRun

PAUSE = 1.0
"""Interval in seconds at which the tasks are polled."""
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

    place = "--ray.address" if address else "RAY_ADDRESS"
    address = address or os.environ.get("RAY_ADDRESS", "")
    try:
        if re.fullmatch(r"[^/]+:\d+", address):
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), CONNECT).close()  # Ray itself tries for minutes
        ray.init(address=address or None, log_to_driver=False, configure_logging=False)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{place}: no Ray cluster at {address or 'this machine'}: {reason}") from error


def check_resources(cpus: int, gpus: int) -> None:
    """Check that a node of the cluster has what a run needs: Ray would wait for such a node without end.

    Raises:
        UserError: no node has it.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
        there = "; ".join(f"{node.get('CPU', 0):g} CPU cores, {node.get('GPU', 0):g} GPUs" for node in nodes)
        raise UserError(f"--cpus {cpus} --gpus {gpus}: no node of the Ray cluster has as many; its nodes have {there}")


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
        UserError: there is no cluster at the address, or no node of it has the cores and GPUs of a run.
    """
    import ray

    connect(address)
    waiting: dict[Any, PlannedRun] = {}
    try:
        check_resources(cpus, gpus)
        task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=-1)(carry_out)
        began, here = time.monotonic(), Path.cwd()
        for run in runs:
            waiting[task.options(name=run.folder.name).remote(command_of(run, trust), log_of(run), here)] = run
        while waiting:
            ended, _ = ray.wait(list(waiting), timeout=PAUSE)
            for result in ended:
                run = waiting.pop(result)
                try:
                    reason = ray.get(result)
                except ray.exceptions.RayError as error:
                    reason = str(error).strip().splitlines()[-1]
                yield Finished.of(run, time.monotonic() - began, reason)
    finally:
        for result in waiting:
            ray.cancel(result)
        if waiting:
            ray.wait(list(waiting), num_returns=len(waiting), timeout=END)
        ray.shutdown()
