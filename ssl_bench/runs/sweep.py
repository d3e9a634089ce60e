"""`ssl-bench sweep`: train and score many runs, those that are missing."""

import argparse
import re
import shutil
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import partial
from importlib.util import find_spec

from ssl_bench.config.devices import given_devices
from ssl_bench.errors import RunError, UserError
from ssl_bench.runs.checks import check_epochs
from ssl_bench.runs.sweep_jobs import Finished, log_of
from ssl_bench.runs.sweep_local import run_local
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
from ssl_bench.runs.sweep_ray import run_ray
from ssl_bench.runs.sweep_slurm import run_slurm
from ssl_bench.runs.tables import print_tables

OF_LAUNCHERS = {
    "jobs": ("local",),
    "cpus": ("slurm", "ray"),
    "gpus": ("slurm", "ray"),
    "slurm.hours": ("slurm",),
    "slurm.partition": ("slurm",),
    "ray.address": ("ray",),
}
"""Launchers that a flag is for."""
Launch = Callable[[Sequence[PlannedRun]], Generator[Finished, None, None]]
"""Function that carries out runs and yields each when it has ended; if it is closed, the others are ended."""


def sweep(options: argparse.Namespace, rest: list[str]) -> None:
    """Carry out `ssl-bench sweep`.

    Raises:
        UserError: a flag is not valid.
        RunError: a run failed, or needs something that is missing.
    """
    launch = launcher(options)
    if not options.dry_run:
        check_installed(options.launcher)
    runs = planned(options, rest)
    print_plan(runs)
    if options.dry_run:
        return
    try:
        run_all(runs, launch)
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


def run_all(runs: Sequence[PlannedRun], launch: Launch) -> None:
    """Run what is missing; go on after a run that fails.

    Each run is a process of `ssl-bench bench`, which writes to a log in the folder `LOGS`.

    Args:
        runs: the plan.
        launch: see `launcher`.

    Raises:
        RunError: a run failed, or needs something that is missing.
    """
    missing = [run for run in runs if not run.done and not run.before]
    failed: list[str] = []
    with closing(launch(missing)) as ended:
        for number, (run, seconds, reason) in enumerate(ended if missing else (), 1):
            text = f"failed after {duration(seconds)}: {reason} ({log_of(run)})" if reason else duration(seconds)
            print(f"{number}/{len(missing)} {run.label}: {text}", flush=True)
            if reason:
                failed.append(f"{run.label}: {reason}")
    failed += [f"{run.label}: needs `{run.before}`" for run in runs if run.before and not run.done]
    if failed:
        raise RunError(f"{len(failed)} of {len(runs)} runs are missing: {'; '.join(failed)}")


def launcher(options: argparse.Namespace) -> Launch:
    """The launcher that the flags choose; nothing is started.

    Raises:
        UserError: a flag is not valid or belongs to another launcher.
    """
    given, trust = vars(options), options.trust
    chosen = options.launcher
    for flag, of in OF_LAUNCHERS.items():
        if given[flag] is not None and chosen not in of:
            raise UserError(f"--{flag} is for --launcher {' or '.join(of)}")
    counts = {"jobs": "1", "cpus": "1", "gpus": "0"} | {
        flag: given[flag] for flag in ("jobs", "cpus", "gpus") if given[flag] is not None
    }
    for flag, value in counts.items():
        if not value.isdecimal() or (flag != "gpus" and not int(value)):
            least = 0 if flag == "gpus" else 1
            raise UserError(f"--{flag} must be an integer of at least {least}, got {value!r}")
    jobs, cpus, gpus = (int(value) for value in counts.values())
    if chosen == "local":
        return partial(run_local, trust=trust, jobs=jobs)
    if chosen == "ray":
        return partial(run_ray, trust=trust, address=given["ray.address"] or "", cpus=cpus, gpus=gpus)
    hours = given["slurm.hours"] or "24"
    if not re.fullmatch(r"\d+(\.\d+)?", hours) or not round(60 * float(hours)):
        raise UserError(f"--slurm.hours must be a number of hours of at least 0.02, got {hours!r}")
    partition = given["slurm.partition"] or ""
    return partial(run_slurm, trust=trust, hours=float(hours), partition=partition, cpus=cpus, gpus=gpus)


def check_installed(launcher: str) -> None:
    """Check that what a launcher needs is installed.

    Raises:
        UserError: it is not.
    """
    package = {"slurm": "submitit", "ray": "ray"}.get(launcher)
    if package and not find_spec(package):
        raise UserError(f"--launcher {launcher} needs the package {package}: pip install 'ssl_bench[{launcher}]'")
    if launcher == "slurm" and not shutil.which("sbatch"):
        raise UserError("--launcher slurm: there is no command sbatch: start the sweep on a node of the Slurm cluster")
