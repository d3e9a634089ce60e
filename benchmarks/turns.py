"""How benchmarks compare: contestants take turns in every round, so that a busy machine slows all of them."""

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

Seconds = dict[str, list[float]]
"""Of every contestant, one figure for each round."""


def take_turns(contestants: Mapping[str, Callable[[], float]], rounds: int) -> Seconds:
    """What each contestant returns in every round, the contestants one after another in each."""
    found: Seconds = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            found[name].append(contestant())
    return found


def speed_up(seconds: Seconds, name: str) -> float:
    """How many times as fast as the first contestant: the median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(next(iter(seconds.values())), seconds[name], strict=True))


def table(seconds: Seconds, what: str, images: int) -> str:
    """Medians over the rounds with their ranges, images/s, and the ratio to the first contestant both ways.

    Args:
        seconds: of every contestant and round.
        what: is done in so many seconds.
        images: that this is of.
    """
    lines = [f"| {what} | seconds (median) | min to max | images/s | speed-up | time |", "|---|---|---|---|---|---|"]
    for name, values in seconds.items():
        middle, ratio = statistics.median(values), speed_up(seconds, name)
        lines.append(
            f"| {name} | {middle:.4g} | {min(values):.4g} to {max(values):.4g} | {images / middle:,.1f} | {ratio:.2f}x "
            f"| {1 / ratio:.2f}x |"
        )
    return "\n".join(lines)


def verdict(what: str, value: float, bar: float, at_most: bool = False) -> str:
    """A line that says whether a bar was met."""
    value = round(value, 2)
    met = value <= bar if at_most else value >= bar
    sign = "at most" if at_most else "at least"
    return f"- {what}: {value:.2f}x, wanted is {sign} {bar:g}x: {'met' if met else 'MISSED'}."


def machine(device: str = "cpu") -> str:
    """Command, date, processor, load and versions; of the command without what only this machine knows."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    models = [line.split(":")[1].strip() for line in lines if "model name" in line]
    flags = re.sub(r"(--data\.root[= ])\S*/(?=[^\s/])", r"\1", " ".join(sys.argv[1:]))
    where = torch.cuda.get_device_name() if device == "cuda" else "no GPU: not yet measured on a GPU"
    return (
        f"`python benchmarks/{Path(sys.argv[0]).name} {flags}`, {datetime.date.today()}: "
        f"{models[0] if models else platform.processor()}, {os.cpu_count()} cores with a load of "
        f"{os.getloadavg()[0]:.0f} in all, threads: {torch.get_num_threads()}, torch {torch.__version__}, {where}"
    )


def write(name: str, text: str) -> None:
    """Keep a result as benchmarks/results/NAME.md."""
    with replacing(Path(__file__).parent / "results" / f"{name}.md") as file:
        file.write_text(text, encoding="utf-8")
