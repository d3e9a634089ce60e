"""Alternated timing: every round measures all cases one after another, so that a slow period affects all of them."""

import argparse
import datetime
import os
import platform
import re
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from ssl_bench.files import replacing
from ssl_bench.results.record import commit

QUIET = 0.5
"""Largest load of the machine before a measurement that is recorded: the number of busy cores in the last minute."""
Seconds = dict[str, list[float]]
"""Measurements of every case, one per round."""


def timing_options(description: str | None) -> argparse.Namespace:
    """The command line of a script that measures all its cases: ``rounds`` and ``write``."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    return parser.parse_args()


def alternate(cases: Mapping[str, Callable[[], float]], rounds: int) -> Seconds:
    """Call every case once per round, in order, and collect the return values."""
    found: Seconds = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            found[name].append(case())
    return found


def speed_up(seconds: Seconds, name: str) -> float:
    """Speed of a case relative to the first case: the median of the ratios of the rounds."""
    return statistics.median(a / b for a, b in zip(next(iter(seconds.values())), seconds[name], strict=True))


def table(seconds: Seconds, what: str, images: int) -> str:
    """Markdown table of median and range over the rounds, images/s and the ratio to the first case.

    Args:
        seconds: measurements of every case.
        what: the measured operation, the header of the first column.
        images: number of images that one operation processes.
    """
    lines = [f"| {what} | seconds (median) | min to max | images/s | speed-up | time |", "|---|---|---|---|---|---|"]
    for name, values in seconds.items():
        middle, ratio = statistics.median(values), speed_up(seconds, name)
        lines.append(
            f"| {name} | {middle:.4g} | {min(values):.4g} to {max(values):.4g} | {images / middle:,.1f} | {ratio:.2f}x "
            f"| {1 / ratio:.2f}x |"
        )
    return "\n".join(lines)


def compare_with_goal(what: str, value: float, goal: float, at_most: bool = False) -> str:
    """One line of Markdown that compares a ratio with its goal."""
    value = round(value, 2)
    reached = value <= goal if at_most else value >= goal
    bound = "at most" if at_most else "at least"
    return f"- {what}: {value:.2f}x, goal {bound} {goal:g}x: {'reached' if reached else 'not reached'}."


def provenance(device: str = "cpu") -> str:
    """Command, date, processor, load, versions and commit; without local folders. Call it before the measurement.

    Raises:
        SystemExit: the results are to be written (``--write``), but the machine is busy with other work.
    """
    load = os.getloadavg()[0]
    if "--write" in sys.argv and load > QUIET:
        raise SystemExit(
            f"the load of this machine is {load:.2f}, and timings are recorded at {QUIET} or less: stop what else runs "
            "and wait a minute, or leave out --write"
        )
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    models = [line.split(":")[1].strip() for line in lines if "model name" in line]
    flags = re.sub(r" --out[= ]\S+", "", " " + " ".join(sys.argv[1:]))
    flags = re.sub(r"(--data\.root[= ])\S*/(?=[^\s/])", r"\1", flags)
    where = torch.cuda.get_device_name() if device == "cuda" else "no GPU: not yet measured on a GPU"
    return (
        f"`python benchmarks/{Path(sys.argv[0]).name}{flags.rstrip()}`, {datetime.date.today()}: "
        f"{models[0] if models else platform.processor()}, {os.cpu_count()} cores, load before the start {load:.2f}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, {where}. Commit {commit()}"
    )


def write(name: str, text: str) -> None:
    """Write a result to benchmarks/results/NAME.md."""
    with replacing(Path(__file__).parent / "results" / f"{name}.md") as file:
        file.write_text(text, encoding="utf-8")
