"""What the page says about one run: settings, command, versions, times, warnings and failures."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssl_bench.results.metrics import unit
from ssl_bench.results.record import Record
from ssl_bench.results.report.looks import relative_url
from ssl_bench.results.table import is_default

SHORTEST = 0.05
"""Shortest time in seconds that is listed."""


@dataclass(frozen=True)
class Change:
    """A setting of a run that differs from the default of its method on its data."""

    key: str
    value: str
    default: str


@dataclass(frozen=True)
class RunPage:
    """A run.

    Attributes:
        title: number on the page, method, data and seed.
        folder: name of its folder.
        link: relative URL of its folder.
        facts: headings with their texts, in the order in which they are shown.
        changes: settings that differ from the defaults; None if the defaults or the configuration are not known.
        times: seconds by phase, the longest first.
        warnings: notes of protocols.
        failures: protocols that failed, with their reasons.
    """

    title: str
    folder: str
    link: str
    facts: dict[str, str]
    changes: list[Change] | None = None
    times: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def run_page(number: int, record: Record, beside: Path, changes: list[Change] | None) -> RunPage:
    """The page of a run.

    Args:
        number: its number on the page.
        record: its record.
        beside: folder of the report, from which links start.
        changes: settings that differ from the defaults; None if they are not known.
    """
    folder = record.folder or Path()
    where = record.device if record.device != "cpu" else "CPU"
    facts = {
        "trained on" if record.epochs else "scored on": _data(record),
        "epochs": f"{record.epochs}" + (" (untrained network)" if record.untrained else ""),
        "images seen": "" if record.images_seen is None else f"{record.images_seen:,}",
        "batch": "" if record.global_batch is None else f"{record.global_batch:,} images in {_processes(record)}",
        "labels": "used in training" if record.uses_labels else "",
        "parameters of the encoder": "" if record.parameters is None else f"{record.parameters:,}",
        "peak memory": f"{record.peak_memory_mb:,.0f} MiB" if record.peak_memory_mb else "",
        "device": f"{where}, {record.processor}" if record.processor else where,
        "date": record.date,
        "scores": ", ".join(
            f"{name} {value:.1f} {unit(name)}".strip() for name, value in record.metrics.items() if is_default(name)
        ),
        "commit": record.commit or "unknown (not run from a Git checkout)",
        "command": record.command,
        "later commands": "; ".join(record.evaluations),
        "versions": ", ".join(f"{name} {version}" for name, version in record.versions.items()),
    }
    times = {name: seconds for name, seconds in record.seconds.items() if seconds >= SHORTEST}
    longest = sorted(times.items(), key=lambda item: -item[1])
    return RunPage(
        f"{number}. {record.method}{' (untrained)' if record.untrained else ''} on {record.data}, seed {record.seed}",
        folder.name,
        relative_url(folder, beside),
        {name: text for name, text in facts.items() if text},
        changes,
        {PHASES.get(name, name): f"{seconds:,.1f} s" for name, seconds in longest},
        [f"{name}: {note}" for name, note in record.notes.items()],
        [f"{name}: {reason}" for name, reason in record.failed.items()],
    )


PHASES = {"fit": "training", "extract": "encoding"}
"""Names of phases that are not protocols."""


def _data(record: Record) -> str:
    known: dict[str, Any] = record.fingerprint
    if not known.get("images"):
        return record.data
    images = ", ".join(f"{count:,} {split}" for split, count in known["images"].items() if split != "fit")
    return f"{record.data}: {images} images of shape {' x '.join(map(str, known['shape']))}"


def _processes(record: Record) -> str:
    return f"{record.world_size} process{'es' * (record.world_size > 1)}"
