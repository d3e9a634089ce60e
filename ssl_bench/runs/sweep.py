"""`ssl-bench sweep`: train and score many runs, those that are missing."""

import argparse
import re
import shutil
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from importlib.util import find_spec

from ssl_bench.catalogue import config_names
from ssl_bench.config.devices import given_devices
from ssl_bench.config.tables import read_table
from ssl_bench.config.yaml_file import read_settings
from ssl_bench.errors import RunError, UserError
from ssl_bench.precision import CHOSEN
from ssl_bench.runs.arguments import files_and_flags
from ssl_bench.runs.checks import check_epochs
from ssl_bench.runs.sweep_choices import choices_of_lists, choices_of_table, combinations, listed, seeds_of
from ssl_bench.runs.sweep_jobs import Finished, log_of
from ssl_bench.runs.sweep_local import gpus_of_a_run, run_local
from ssl_bench.runs.sweep_plan import PlannedRun, hours, plan
from ssl_bench.runs.sweep_ray import run_ray
from ssl_bench.runs.sweep_slurm import run_slurm
from ssl_bench.runs.sweep_steps import Steps
from ssl_bench.runs.sweep_wandb import write_sweep
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
    options.table = scaled(options.table, options.scale) if options.table else ""
    if not options.dry_run and not options.wandb_sweep:
        check_installed(options.launcher)
    runs = planned(options, rest)
    if options.wandb_sweep and options.dry_run:
        raise UserError("--wandb_sweep does not go with --dry_run: leave one of them out")
    if options.wandb_sweep:
        write_sweep(options.wandb_sweep, runs, options.out, options.table, options.trust)
        return
    print_plan(runs)
    if options.dry_run:
        return
    try:
        run_all(runs, launch)
    finally:
        if recorded := [str(run.folder) for run in runs if run.done]:
            rows = listed("--rows", options.rows) if options.rows else ()
            data = listed("--data", options.data) if options.table and options.data else ()
            print_tables([options.table, *recorded] if options.table else recorded, "terminal", rows=rows, data=data)


def planned(options: argparse.Namespace, rest: list[str]) -> list[PlannedRun]:
    """The runs that the flags choose; ``rest`` are the settings.

    Raises:
        UserError: a flag is not valid.
    """
    given, table = vars(options), options.table
    check_epochs(given["trainer.max_epochs"])
    given_devices("--devices", given["trainer.devices"] or "auto")
    if any(flag.partition("=")[0] == "--seed" for flag in rest):
        raise UserError("--seed is for one run: give --seeds, a list separated by commas")
    named = {"trainer.max_epochs": given["trainer.max_epochs"], "trainer.devices": devices(options, rest)}
    settings = combinations(rest + [f"--{name}={value}" for name, value in named.items() if value is not None])
    seeds = None if options.seeds is None else seeds_of(options.seeds)
    precision = "" if options.launcher == "local" else CHOSEN[0 if int(options.gpus or 0) else 1]
    lists = ("method", "data", "experiment", "rows")
    names = {key: listed(f"--{key}", given[key]) if given[key] else [] for key in lists}
    if not table:
        if wrong := [flag for flag in ("rows", "scale") if given[flag]]:
            raise UserError(f"--{wrong[0]} is for --table: name a table of `ssl-bench list tables`")
        choices = choices_of_lists(names["method"], names["data"], names["experiment"])
        return plan(choices, settings, seeds or ["0"], options.out, precision)
    if wrong := [key for key in ("method", "experiment") if names[key]]:
        raise UserError(f"--{wrong[0]} does not go with --table: its rows choose methods and data")
    runs = plan(choices_of_table(table, names["rows"], names["data"]), settings, seeds, options.out, precision)
    common = [flag for flag in settings[0] if all(flag in flags for flags in settings)]
    steps = Steps(runs, read_table(table).steps, common, options.out, precision)
    return [replace(run, table=table) for run in steps.plan()]


def devices(options: argparse.Namespace, rest: Sequence[str]) -> str | None:
    """Number of devices of a run; None for those of this machine.

    The name of a run folder depends on it, so it is decided here and not where the run is carried out.
    """
    given: str | None = vars(options)["trainer.devices"]
    files, flags = files_and_flags(list(rest))
    settings = [trainer for file in files if isinstance(trainer := read_settings(file).get("trainer"), dict)]
    if given is not None or any("devices" in one for one in settings) or any("--trainer.devices" in f for f in flags):
        return given
    if options.launcher != "local":
        return str(max(1, int(options.gpus or 0)))
    jobs, words = int(options.jobs or 1), " ".join(flags).replace("=", " ")
    on_cpu = "--trainer.accelerator cpu" in words or any(one.get("accelerator") == "cpu" for one in settings)
    return str(gpus_of_a_run(jobs)) if jobs > 1 and not on_cpu else None


def scaled(table: str, scale: str) -> str:
    """Name of the small profile of a table.

    Raises:
        UserError: the table does not have it.
    """
    if not scale or table not in config_names("table") or f"{table}-{scale}" in config_names("table"):
        return f"{table}-{scale}" if scale else table
    scales = [name.removeprefix(f"{table}-") for name in config_names("table") if name.startswith(f"{table}-")]
    raise UserError(f"--scale got {scale!r}: {table} has {', '.join(scales) or 'no smaller scale: leave it out'}")


def print_plan(runs: Sequence[PlannedRun]) -> None:
    """Print the runs, which of them are done or cannot be run, and how long the others take."""
    missing = [run for run in runs if not run.done and run.ready]
    estimates = dict(zip(missing, hours(missing), strict=True))
    for run in runs:
        if run.done:
            state = "done"
        elif not run.ready:
            state = f"needs `{run.before}`"
        elif run.command != "bench":
            state = "to be completed, for the runs that need it"
        else:
            estimate = estimates[run]
            state = "to run" if estimate is None else f"to run, about {duration(3600 * estimate)}"
        epochs = f" ({run.epochs} epochs)" if run.command != "views" else ""
        print(f"{run.label}{epochs}: {state}")
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

    Each run is a process of `ssl-bench`, which writes to a log in the folder `LOGS`. Runs whose steps are done are
    launched together; a run whose step has failed is not started.

    Args:
        runs: the plan.
        launch: see `launcher`.

    Raises:
        RunError: a run failed, or needs something that is missing.
    """
    failed = {run.folder: f"{run.label}: needs `{run.before}`" for run in runs if not run.ready and not run.done}
    waiting = [run for run in runs if not run.done and run.folder not in failed]
    missing, ended = len(waiting), 0
    while waiting:
        unfinished = {run.folder for run in waiting}
        ready = [run for run in waiting if not unfinished.intersection(run.needs)]
        waiting = [run for run in waiting if run not in ready]
        for run in [run for run in ready if not failed.keys().isdisjoint(run.needs)]:
            needed = next(one.label for one in runs if one.folder in run.needs and one.folder in failed)
            failed[run.folder] = f"{run.label}: needs {needed}, which failed"
            ready.remove(run)
        with closing(launch(ready)) as results:
            for run, seconds, reason in results if ready else ():
                ended += 1
                text = f"failed after {duration(seconds)}: {reason} ({log_of(run)})" if reason else duration(seconds)
                print(f"{ended}/{missing} {run.label}: {text}", flush=True)
                if reason:
                    failed[run.folder] = f"{run.label}: {reason}"
    if failed:
        raise RunError(f"{len(failed)} of {len(runs)} runs are missing: {'; '.join(failed.values())}")


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
        address = given["ray.address"] or ""
        if address not in ("", "auto") and not re.fullmatch(r"(ray://)?[^/]+:\d+", address):
            raise UserError(f"--ray.address must be HOST:PORT, ray://HOST:PORT or auto, got {address!r}")
        return partial(run_ray, trust=trust, address=address, cpus=cpus, gpus=gpus)
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
