"""Tables of run records: averages over seeds, columns, and the best of each column."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from ssl_bench.errors import UserError, did_you_mean
from ssl_bench.results.cells import Cell, average, is_best
from ssl_bench.results.data_groups import by_data
from ssl_bench.results.metrics import higher_is_better, number_format
from ssl_bench.results.record import Record
from ssl_bench.results.settings import WITH_LABELS, Setting, by_setting

DEFAULT = ("*/accuracy", "fid", "fd_*")
"""Patterns of the default columns. Metrics for which a paper reports a value are shown too."""
VARIANTS = ("*_sd/*", "*_best/*", "knn_*_*/*")
"""Patterns of metrics that are not default columns: spread and best of restarts, variants of kNN."""


@dataclass(frozen=True)
class Row:
    """Metrics of one setting on one target, or the values of a paper (without epochs and seeds).

    Attributes:
        target: name of the target; empty if there is only one target, and for the mean over targets.
        cells: cells by column; metrics that were not computed are missing.
    """

    method: str
    epochs: int | None
    seeds: int | None
    target: str
    cells: dict[str, Cell]


@dataclass(frozen=True)
class DataTable:
    """All settings on one data set.

    Attributes:
        columns: names of the metrics, each with a number format such as ``.1f``.
        rows: recorded settings, then the values of papers.
        has_targets: whether there are rows of several targets.
        notes: failed protocols, notes of protocols, skipped targets, sources of papers.
    """

    data: str
    columns: dict[str, str]
    rows: list[Row]
    has_targets: bool
    notes: list[str] = field(default_factory=list)


def read_records(paths: Iterable[Path]) -> list[Record]:
    """Read the records of run folders, or of all run folders in a folder, each once.

    Raises:
        UserError: there is no record.
    """
    paths = list(paths)
    files = [file for path in paths for file in sorted([*path.glob("metrics.json"), *path.glob("*/metrics.json")])]
    if not files:
        raise UserError(
            f"no metrics.json in {', '.join(map(str, paths))}: run `ssl-bench bench` first, or name a folder"
        )
    records = []
    for file in {file.resolve(): file for file in files}.values():
        with suppress(FileNotFoundError):  # the run has been deleted meanwhile
            records.append(Record.read(file.parent))
    return records


def known_targets(records: Iterable[Record]) -> list[str]:
    """Names of targets, longest first; older records contain them only in names of metrics, after ``/accuracy_``."""
    names: set[str] = set()
    for record in records:
        names.update(record.targets)
        for metric in [*record.reference.get("metrics", ()), *(() if record.targets else record.metrics)]:
            names.add(metric.partition("/accuracy_")[2])
    return sorted(names - {""}, key=lambda name: (-len(name), name))


def split_name(metric: str, targets: Sequence[str]) -> tuple[str, str]:
    """Split the name of a metric into column and target: ``svm/accuracy_hair`` into ``svm/accuracy`` and ``hair``.

    Args:
        metric: name of the metric.
        targets: names of targets, longest first, so that ``Black_Hair`` is matched before ``Hair``.
    """
    target = next((name for name in targets if "/" in metric and metric.endswith(f"_{name}")), "")
    return (metric.removesuffix(f"_{target}") if target else metric), target


def make_tables(records: Iterable[Record], metrics: Sequence[str] = (), sort: str = "") -> list[DataTable]:
    """Make one table per data set. Data sets with the same name and different content have separate tables.

    Args:
        records: records of runs on any data.
        metrics: patterns such as ``kmeans/*`` of the metrics and costs to show (see `Record.costs`; ``*`` is for all
            metrics); empty for the default columns.
        sort: metric or cost by which settings are sorted, the best first; empty for the order of the records.

    Raises:
        UserError: no record has a metric that matches.
    """
    groups = by_data(records)
    if sort and sort not in (known := {name for same in groups.values() for one in same for name in values_of(one)}):
        raise UserError(f"--sort: no metric named {sort!r}: {did_you_mean(sort, known)}")
    tables = [_data_table(data, same, metrics, sort) for data, same in groups.items()]
    if metrics and not any(table.columns for table in tables):
        there = sorted({name for same in groups.values() for record in same for name in record.metrics})
        raise UserError(f"no metric matches {' '.join(metrics)}; recorded are {', '.join(there) or 'none'}")
    return [table for table in tables if table.columns or not metrics]


def is_default(metric: str) -> bool:
    """Whether a metric is a default column."""
    usual = any(fnmatchcase(metric, pattern) for pattern in DEFAULT)
    return usual and not any(fnmatchcase(metric, variant) for variant in VARIANTS)


def values_of(record: Record) -> dict[str, float]:
    """Metrics and costs of a record."""
    return record.metrics | record.costs


def _data_table(data: str, records: list[Record], patterns: Sequence[str], sort: str) -> DataTable:
    references = {
        f"{r.method} {WITH_LABELS}" if r.uses_labels else r.method: r.reference["metrics"]
        for r in records
        if r.reference.get("metrics")
    }
    named = {metric for reference in references.values() for metric in reference}

    costs = {cost for record in records for cost in record.costs}

    def shown(metric: str) -> bool:
        if metric in costs:
            return any(fnmatchcase(metric, pattern) for pattern in patterns if pattern != "*")
        if patterns:
            return any(fnmatchcase(metric, pattern) for pattern in patterns)
        return metric in named or is_default(metric)

    targets = known_targets(records)
    places = [split_name(metric, targets) for record in records for metric in values_of(record) if shown(metric)]
    columns, rows_of = list(dict.fromkeys(column for column, _ in places)), list(dict.fromkeys(t for _, t in places))
    columns.sort(key=lambda name: next((i for i, pattern in enumerate(patterns) if fnmatchcase(name, pattern)), 0))
    rows, notes = _our_rows(records, columns, rows_of, sort)
    formats = {name: number_format(row.cells[name].mean for row in rows if name in row.cells) for name in columns}
    rows = _mark_best(rows, columns)
    for method, reference in references.items():
        found: dict[str, dict[str, Cell]] = defaultdict(dict)
        for metric, value in reference.items():
            column, target = split_name(metric, targets)
            found[target][column] = Cell(value)
        for target in rows_of:
            if cells := {name: cell for name, cell in found[target].items() if name in formats}:
                rows.append(Row(f"{method} (paper)", None, None, target, cells))
    notes += [f"{record.run}: {name} failed: {why}" for record in records for name, why in record.failed.items()]
    notes += dict.fromkeys(f"{r.method} on {r.data}: {note}" for r in records for note in r.notes.values())
    notes += differently_scored(records, dict.fromkeys(m for record in records for m in record.metrics if shown(m)))
    if skipped_targets := sorted({name for record in records for name in record.skipped_targets}):
        notes.append(f"skipped targets, excluded from all means: {', '.join(skipped_targets)}")
    notes += [
        f"paper: {source}" for source in sorted({r.reference["source"] for r in records if r.reference.get("metrics")})
    ]
    return DataTable(data, formats, rows, len(rows_of) > 1, notes)


def differently_scored(records: Sequence[Record], metrics: Iterable[str]) -> list[str]:
    """Notes on metrics that records have with different versions or settings of the protocol, each note once."""
    notes = []
    for metric in metrics:
        methods: dict[str, list[str]] = defaultdict(list)
        protocol = ""
        for record in records:
            if metric in record.metrics and (entry := record.scored.get(metric)):
                protocol, *words = entry.split()
                version = words.pop(0).removeprefix("v") if words[0].startswith("v") else "before 1"
                methods[f"version {version}, settings {words[0]}"].append(record.method)
        if len(methods) > 1:
            parts = [f"{', '.join(dict.fromkeys(names))} ({scoring})" for scoring, names in methods.items()]
            notes.append(f"{protocol}: not comparable, because versions or settings differ: {'; '.join(parts)}")
    return list(dict.fromkeys(notes))


def _our_rows(records: list[Record], columns: list[str], targets: list[str], sort: str) -> tuple[list[Row], list[str]]:
    """Rows of all settings, each averaged over its seeds, and notes."""
    settings, notes = by_setting(records)
    if sort:
        sign = -1 if higher_is_better(sort) else 1
        settings.sort(key=lambda setting: _order(setting, sort, sign))
    rows = []
    for setting in settings:
        for target in targets:
            names = {column: f"{column}_{target}" if target else column for column in columns}
            known = [values_of(record) for record in setting.records]
            values = {column: [one[name] for one in known if name in one] for column, name in names.items()}
            cells = {column: average(found) for column, found in values.items() if found}
            rows.append(Row(setting.name, setting.epochs, len(setting.records), target, cells))
    return rows, notes


def _order(setting: Setting, metric: str, sign: int) -> tuple[bool, float]:
    """Key to sort settings by a metric; settings without a finite mean are last."""
    values = [known[metric] for record in setting.records if metric in (known := values_of(record))]
    mean = average(values).mean if values else math.nan
    return not math.isfinite(mean), sign * mean if math.isfinite(mean) else 0.0


def _mark_best(rows: list[Row], columns: Iterable[str]) -> list[Row]:
    """Mark the best cells of each column and target, if there are several rows."""
    best: dict[tuple[str, str], Cell] = {}
    for column in columns:
        if (higher := higher_is_better(column)) is None:
            continue
        for target in {row.target for row in rows}:
            cells = [row.cells[column] for row in rows if row.target == target and column in row.cells]
            finite = [cell for cell in cells if math.isfinite(cell.mean)]
            if len(cells) > 1 and finite:
                best[column, target] = max(finite, key=lambda cell: (cell.mean if higher else -cell.mean, cell.n))
    return [
        replace(row, cells={
            column: replace(cell, best=(column, row.target) in best and is_best(cell, best[column, row.target]))
            for column, cell in row.cells.items()
        })
        for row in rows
    ]  # fmt: skip
