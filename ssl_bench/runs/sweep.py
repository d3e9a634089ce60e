"""`ssl-bench sweep`: train and score many runs, those that are missing."""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ssl_bench.config.devices import given_devices
from ssl_bench.errors import RunError, UserError
from ssl_bench.runs.checks import check_epochs
from ssl_bench.runs.sweep_plan import (
    PlannedRun,
    choices_of_lists,
    choices_of_table,
    combinations,
    hours,
    listed,
    plan,
    seeds_of,
)
from ssl_bench.runs.tables import print_tables
from ssl_bench.termination import sigterm

LOGS = "logs_of_sweeps"
"""Folder of the outputs of the runs, beside the run folders."""
PAUSE = 0.1
"""Seconds between looks at the runs that are in progress."""


def sweep(options: argparse.Namespace, rest: list[str]) -> None:
    """Carry out `ssl-bench sweep`.

    Raises:
        UserError: a flag is not valid.
        RunError: a run failed, or needs something that is missing.
    """
    runs = planned(options, rest)
    print_plan(runs)
    if options.dry_run:
        return
    try:
        run_all(runs, int(options.jobs), options.trust)
    finally:
        if recorded := [str(run.folder) for run in runs if run.done]:
            rows = options.rows.split(",") if options.rows else ()
            print_tables([options.table, *recorded] if options.table else recorded, "terminal", rows=rows)


def planned(options: argparse.Namespace, rest: list[str]) -> list[PlannedRun]:
    """The runs that the flags choose; ``rest`` are the settings.

    Raises:
        UserError: a flag is not valid.
    """
    given = vars(options)
    check_epochs(given["trainer.max_epochs"])
    given_devices("--devices", given["trainer.devices"] or "auto")
    if not options.jobs.isdecimal() or not int(options.jobs):
        raise UserError(f"--jobs must be an integer of at least 1, got {options.jobs!r}")
    named = ("trainer.max_epochs", "trainer.devices")
    settings = combinations(rest + [f"--{name}={given[name]}" for name in named if given[name] is not None])
    seeds = None if options.seeds is None else seeds_of(options.seeds)
    lists = ("method", "data", "experiment", "rows")
    names = {key: listed(f"--{key}", given[key]) if given[key] else [] for key in lists}
    if not options.table:
        if names["rows"]:
            raise UserError("--rows is for --table: name a table of `ssl-bench list tables`")
        choices = choices_of_lists(names["method"], names["data"], names["experiment"])
        return plan(choices, settings, seeds or ["0"], options.out)
    if wrong := [key for key in ("method", "experiment") if names[key]]:
        raise UserError(f"--{wrong[0]} does not go with --table: its rows choose methods and data")
    return plan(choices_of_table(options.table, names["rows"], names["data"]), settings, seeds, options.out)


def print_plan(runs: Sequence[PlannedRun]) -> None:
    """Print the runs, which of them are done or cannot be run, and how long the others take."""
    missing = [run for run in runs if not run.done and not run.before]
    estimates = dict(zip(missing, hours(missing), strict=True))
    for run in runs:
        if run.done:
            state = "done"
        elif run.before:
            state = f"needs `{run.before}`"
        else:
            estimate = estimates[run]
            state = "to run" if estimate is None else f"to run, about {duration(3600 * estimate)}"
        print(f"{run.label} ({run.epochs} epochs): {state}")
    known = [estimate for estimate in estimates.values() if estimate is not None]
    total = f", about {duration(3600 * sum(known))}" if known else ""
    unknown = len(missing) - len(known)
    total += f" and {unknown} of unknown duration" if known and unknown else ""
    print(f"{len(runs)} runs, {len(runs) - len(missing)} not to be run, {len(missing)} to run{total}", flush=True)


def duration(seconds: float) -> str:
    """A duration in the largest unit of which there is at least one."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def run_all(runs: Sequence[PlannedRun], jobs: int, trust: Sequence[str]) -> None:
    """Run what is missing, `jobs` runs at a time; go on after a run that fails.

    Each run is a process of `ssl-bench bench`, which writes to a log in the folder `LOGS`. Several runs share out the
    cores and the GPUs. A run that another process works on is waited for.

    Raises:
        RunError: a run failed, or needs something that is missing.
    """
    waiting = [run for run in runs if not run.done and not run.before]
    total, done = len(waiting), 0
    active: dict[int, tuple[PlannedRun, subprocess.Popen[bytes], float]] = {}
    failed: list[str] = []
    try:
        while waiting or active:
            for slot in range(jobs):
                if waiting and slot not in active:
                    run = waiting.pop(0)
                    active[slot] = run, start(run, slot, jobs, trust), time.monotonic()
            time.sleep(PAUSE)
            for slot, (run, process, began) in list(active.items()):
                if process.poll() is None:
                    continue
                del active[slot]
                sigterm.children.remove(process)
                done += 1
                took = duration(time.monotonic() - began)
                if process.returncode:
                    reason = last_line(log_of(run))
                    failed.append(f"{run.label}: {reason}")
                    print(f"{done}/{total} {run.label}: failed after {took}: {reason} ({log_of(run)})", flush=True)
                else:
                    print(f"{done}/{total} {run.label}: {took}", flush=True)
    finally:  # an interruption: the runs write a checkpoint and end
        for _, process, _ in active.values():
            process.terminate()
        for _, process, _ in active.values():
            process.wait()
            sigterm.children.remove(process)
    failed += [f"{run.label}: needs `{run.before}`" for run in runs if run.before and not run.done]
    if failed:
        raise RunError(f"{len(failed)} of {len(runs)} runs are missing: {'; '.join(failed)}")


def log_of(run: PlannedRun) -> Path:
    """File with the output of a run."""
    return run.folder.parent / LOGS / f"{run.folder.name}.log"


def start(run: PlannedRun, slot: int, jobs: int, trust: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a run in a process of its own.

    Raises:
        UserError: its log cannot be written.
    """
    command = [sys.executable, "-P", "-m", "ssl_bench.cli", "bench", *run.arguments, "--wait"]
    command += [f"--out={run.folder.parent}", *(f"--trust={folder}" for folder in trust)]
    log = log_of(run)
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment(slot, jobs)
            )
    except OSError as error:
        raise UserError(f"cannot write {log}: {error.strerror}: give another folder with --out") from error
    sigterm.children.append(process)
    return process


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


def last_line(log: Path) -> str:
    """The last line of a log that is not empty, without the name of the command."""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("ssl-bench: ") if lines else "no output"
