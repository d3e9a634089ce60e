"""Launcher of a sweep on this machine: several processes that share out the cores and the GPUs."""

import os
import subprocess
import time
from collections.abc import Generator, Sequence

from ssl_bench.runs.sweep_jobs import Finished, command_of, last_line, log_of, start
from ssl_bench.runs.sweep_plan import PlannedRun
from ssl_bench.termination import sigterm

PAUSE = 0.1
"""Seconds between looks at the runs that are in progress."""


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
    active: dict[int, tuple[PlannedRun, subprocess.Popen[bytes], float]] = {}
    try:
        while waiting or active:
            for slot in range(jobs):
                if waiting and slot not in active:
                    run = waiting.pop(0)
                    process = start(command_of(run, trust), log_of(run), environment(slot, jobs))
                    sigterm.children.append(process)
                    active[slot] = run, process, time.monotonic()
            time.sleep(PAUSE)
            for slot, (run, process, began) in list(active.items()):
                if process.poll() is None:
                    continue
                del active[slot]
                sigterm.children.remove(process)
                reason = last_line(log_of(run)) if process.returncode else ""
                yield Finished(run, time.monotonic() - began, reason)
    finally:
        for _, process, _ in active.values():
            process.terminate()
        for _, process, _ in active.values():
            process.wait()
            sigterm.children.remove(process)


def environment(slot: int, jobs: int) -> dict[str, str]:
    """Environment variables of the run in a slot: its share of the cores and of the GPUs, if there are several runs."""
    variables = dict(os.environ)
    if jobs == 1:
        return variables
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    variables.setdefault("OMP_NUM_THREADS", str(max(1, cores // jobs)))
    if gpus := visible_gpus():
        variables["CUDA_VISIBLE_DEVICES"] = ",".join(gpus[slot::jobs] or [gpus[slot % len(gpus)]])
    return variables


def visible_gpus() -> list[str]:
    """Names of the GPUs for ``CUDA_VISIBLE_DEVICES``."""
    import torch

    if not torch.cuda.is_available():
        return []
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return given.split(",") if given else [str(index) for index in range(torch.cuda.device_count())]
