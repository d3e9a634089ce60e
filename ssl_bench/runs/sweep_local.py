"""Launcher of a sweep on this machine: several processes that share out the cores and the GPUs."""

import os
import time
from collections.abc import Generator, Sequence

from ssl_bench.runs.sweep_jobs import Finished, Running, command_of, log_of, start
from ssl_bench.runs.sweep_plan import PlannedRun
from ssl_bench.termination import sigterm

PAUSE = 0.1
"""Interval in seconds at which runs in progress are polled."""


def run_local(runs: Sequence[PlannedRun], trust: Sequence[str], *, jobs: int) -> Generator[Finished, None, None]:
    """Carry out runs, `jobs` at a time. If it is closed, the runs in progress write a checkpoint and end.

    Args:
        runs: the runs.
        trust: folders whose files the runs trust.
        jobs: number of runs at a time.

    Yields:
        Each run when it has ended.
    """
    waiting = list(runs)
    active: dict[int, tuple[PlannedRun, Running, float]] = {}
    try:
        while waiting or active:
            for slot in range(jobs):
                if waiting and slot not in active:
                    run = waiting.pop(0)
                    running = start(command_of(run, trust), log_of(run), environment(slot, jobs))
                    sigterm.children.append(running.process)
                    active[slot] = run, running, time.monotonic()
            time.sleep(PAUSE)
            for slot, (run, running, began) in list(active.items()):
                if running.process.poll() is None:
                    continue
                del active[slot]
                sigterm.children.remove(running.process)
                yield Finished.of(run, time.monotonic() - began, running.reason())
    finally:
        for _, running, _ in active.values():
            running.process.terminate()
        for _, running, _ in active.values():
            running.process.wait()
            sigterm.children.remove(running.process)


def environment(slot: int, jobs: int) -> dict[str, str]:
    """Environment variables of the run in a slot: its share of the cores and of the GPUs, if there are several runs."""
    variables = dict(os.environ)
    if jobs == 1:
        return variables
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    variables.setdefault("OMP_NUM_THREADS", str(max(1, cores // jobs)))
    if gpus := visible_gpus():
        share = gpus_of_a_run(jobs)
        variables["CUDA_VISIBLE_DEVICES"] = ",".join(gpus[(slot * share) % len(gpus) :][:share])
    return variables


def gpus_of_a_run(jobs: int) -> int:
    """Number of GPUs of each of several runs at a time: the same for all, so that a run does not depend on its slot."""
    return max(1, len(visible_gpus()) // jobs)


def visible_gpus() -> list[str]:
    """Names of the GPUs for ``CUDA_VISIBLE_DEVICES``."""
    import torch

    if not torch.cuda.is_available():
        return []
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return given.split(",") if given else [str(index) for index in range(torch.cuda.device_count())]
