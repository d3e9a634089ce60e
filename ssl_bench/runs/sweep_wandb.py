"""Sweep files of wandb, whose agents run `ssl-bench bench`."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ssl_bench.errors import UserError
from ssl_bench.files import replacing
from ssl_bench.runs.arguments import files_and_flags
from ssl_bench.runs.sweep_plan import PlannedRun
from ssl_bench.runs.tracking import TABLE_VARIABLE


def sweep_of(runs: Sequence[PlannedRun], out: Path, table: str, trust: Sequence[str]) -> dict[str, Any]:
    """Configuration of a wandb sweep, a grid of the flags of the runs.

    Args:
        runs: runs of the sweep.
        out: folder of the run folders.
        table: name of the paper's table, a tag of the runs; may be empty.
        trust: folders whose files the runs trust.

    Raises:
        UserError: a run has other steps before it, or the runs are not all combinations of their flags.
    """
    if reading := [
        run.label for run in runs if run.command == "bench" and not run.done and (run.needs or not run.ready)
    ]:
        raise UserError(
            f"--wandb_sweep: {reading[0]} reads generated views that do not exist: make them first (without "
            "--wandb_sweep, or see --dry_run), or choose other --rows"
        )
    files, flags = zip(*(files_and_flags(list(run.arguments)) for run in runs), strict=True)
    points = [flags_of(one) for one in flags]
    values = {name: dict.fromkeys(point[name] for point in points if name in point) for name in points[0]}
    grid = {tuple(zip(values, point, strict=True)) for point in itertools.product(*values.values())}
    if grid != {tuple(point.items()) for point in points}:
        mixed = len({tuple(point) for point in points}) > 1
        remedy = "give --experiment, or --method and --data" if mixed else "their numbers of seeds differ: give --seeds"
        raise UserError(f"--wandb_sweep: the runs are not all combinations of their flags: {remedy}")
    fixed = [*(f"--config={file}" for file in files[0]), *(f"--trust={folder}" for folder in trust)]
    tags = [f"{TABLE_VARIABLE}={table}"] if table else []
    return {
        "name": table or "ssl-bench",
        "program": "ssl-bench",
        "method": "grid",
        "command": ["${env}", *tags, "ssl-bench", "bench", *fixed, "${args}"],
        "parameters": {name: {"values": list(of)} for name, of in values.items()} | {"out": {"value": str(out)}},
    }


def flags_of(arguments: Sequence[str]) -> dict[str, str]:
    """Values of flags, ``--KEY=VALUE`` or ``--KEY VALUE``, by their keys."""
    words = iter(arguments)
    found = {}
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        found[name] = value if equals else next(words)
    return found


def write_sweep(file: Path, runs: Sequence[PlannedRun], out: Path, table: str, trust: Sequence[str]) -> None:
    """Write a sweep file and print the commands that start it.

    Raises:
        UserError: the file exists or cannot be written, or see `sweep_of`.
    """
    content = sweep_of(runs, out, table, trust)
    if file.exists():
        raise UserError(f"--wandb_sweep: {file} exists: give another file")
    try:
        with replacing(file) as temporary:
            temporary.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    except OSError as error:
        raise UserError(f"--wandb_sweep: cannot write {file}: {error.strerror}: give another file") from error
    print(f"{file}: {len(runs)} runs; `wandb sweep {file}` starts the sweep, and prints the command of its agents")
