"""Recorded runs side by side in the terminal, with the papers' figures below."""

import math
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ssl_bench.errors import UserError
from ssl_bench.results import Record


def read_records(paths: Iterable[Path]) -> list[Record]:
    """Records of run folders, or of all run folders in a folder.

    Raises:
        UserError: there is no record in any of them.
    """
    paths = list(paths)
    files = [file for path in paths for file in sorted([*path.glob("metrics.json"), *path.glob("*/metrics.json")])]
    if not files:
        raise UserError(
            f"no metrics.json in {', '.join(map(str, paths))}: run `ssl-bench bench` first, or name a folder"
        )
    return [Record.read(file.parent) for file in files]


def split_name(metric: str) -> tuple[str, str]:
    """Column and target of a metric's name: ``svm/accuracy_hair`` is column ``svm/accuracy`` of target ``hair``."""
    protocol, _, figure = metric.rpartition("/")
    figure, _, target = figure.partition("_") if protocol else (figure, "", "")
    return f"{protocol}/{figure}" if protocol else figure, target


def cell(values: list[float]) -> str:
    """Mean, with the standard error where there are several seeds."""
    if len(values) < 2:
        return f"{values[0]:.1f}" if values else "-"
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values) / math.sqrt(len(values)):.1f}"


def print_table(records: list[Record], console: Console | None = None) -> None:
    """Print one table per data set: settings (never averaged with another) by metrics, and the papers' rows."""
    console = console or Console(width=None if sys.stdout.isatty() else 140)
    by_data: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_data[record.data].append(record)
    for data, rows in by_data.items():
        console.print(data_table(data, rows))
        for record in rows:
            for protocol, reason in record.failed.items():
                console.print(f"{record.method}: {protocol} failed: {reason}", markup=False)
        if left_out := sorted({name for record in rows for name in record.left_out}):
            console.print(f"constant targets, left out of every mean: {', '.join(left_out)}", markup=False)
        for source in sorted({r.reference["source"] for r in rows if r.reference.get("metrics")}):
            console.print(f"paper: {source}", markup=False)


def data_table(data: str, records: list[Record]) -> Table:
    """The table of one data set."""
    references = {r.method: r.reference["metrics"] for r in records if r.reference.get("metrics")}
    named = {metric for reference in references.values() for metric in reference}
    shown = [m for r in records for m in r.metrics if m in named or m.endswith("/accuracy") or "/" not in m]
    columns = list(dict.fromkeys(split_name(metric)[0] for metric in shown))
    targets = list(dict.fromkeys(split_name(metric)[1] for metric in shown))
    table = Table(title=f"{data}: accuracy in %", title_justify="left")
    table.add_column("method")
    table.add_column("epochs", justify="right")
    table.add_column("seeds", justify="right")
    if len(targets) > 1:
        table.add_column("target")
    for column in columns:
        table.add_column(column.removesuffix("/accuracy").replace("/", "\n"), justify="right", no_wrap=True)
    settings: dict[tuple[str, int, str, str | None], list[Record]] = defaultdict(list)
    for record in records:
        settings[record.method, record.epochs, record.setting_hash, record.commit].append(record)
    clashing = Counter((method, epochs) for method, epochs, _, _ in settings)
    for (method, epochs, setting, commit), same in settings.items():
        if clashing[method, epochs] > 1:
            method = f"{method} {setting} {(commit or '')[:7]}".strip()
        for target in targets:
            names = [f"{column}_{target}" if target else column for column in columns]
            cells = [cell([r.metrics[name] for r in same if name in r.metrics]) for name in names]
            label = [target or "mean"] if len(targets) > 1 else []
            table.add_row(method, str(epochs), str(len(same)), *label, *cells)
    table.add_section()
    for method, reference in references.items():
        for target in targets:
            names = [f"{column}_{target}" if target else column for column in columns]
            cells = [f"{reference[name]:.1f}" if name in reference else "-" for name in names]
            label = [target or "mean"] if len(targets) > 1 else []
            if set(cells) != {"-"}:
                table.add_row(f"{method} (paper)", "", "", *label, *cells, style="italic")
    return table
