"""From run records to rows of cells: what is averaged with what, which figures are shown, which is best."""

import hashlib
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from ssl_bench.errors import UserError
from ssl_bench.results.record import Record

DEFAULT = ("*/accuracy", "fid", "fd_*")
"""Metrics that are shown where nobody has chosen, beside all that a paper's reference names."""
VARIANTS = ("*_sd/*", "*_best/*", "knn_*_*/*")
"""And of those, the ones that are not: spread and choice over restarts, other distances and weights than the plain."""
HIGHER_IS_BETTER = {
    "accuracy": True, "purity": True, "nmi": True, "ari": True, "psnr": True, "ssim": True, "inception_score": True,
    "mse": False, "fid": False, "kid": False, "fd": False, "kd": False,
}  # fmt: skip
"""Whether more is better, by the figure's name, or what its name begins with (``fd_efficientnet_lite0``).

What is not here is never best: chosen settings such as ``l2``, and what compares no two encoders, such as the
log-likelihood or inertia of features on different scales.
"""


@dataclass(frozen=True)
class Cell:
    """One figure of one setting.

    Attributes:
        mean: over seeds.
        se: its standard error, the sample standard deviation over the root of n; None for one seed.
        n: how many seeds have the figure.
        best: whether none of the other settings has a better mean for this target, as far as digits are shown.
    """

    mean: float
    se: float | None = None
    n: int = 1
    best: bool = False


@dataclass(frozen=True)
class Row:
    """One setting, or what a paper reports (then without epochs and seeds), on one target.

    Attributes:
        target: empty for the only target, and for the mean over targets.
        cells: by column; a figure that is not there was not computed.
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
        columns: names of the metrics, each with the format that its numbers are shown in, such as ``.1f``.
        rows: our settings, then the papers' figures.
        has_targets: whether rows differ in target.
        notes: what must be known to read the table: failures, targets left out, papers.
    """

    data: str
    columns: dict[str, str]
    rows: list[Row]
    has_targets: bool
    notes: list[str] = field(default_factory=list)


def read_records(paths: Iterable[Path]) -> list[Record]:
    """Records of run folders, or of all run folders in a folder, each once.

    Raises:
        UserError: there is no record in any of them.
    """
    paths = list(paths)
    files = [file for path in paths for file in sorted([*path.glob("metrics.json"), *path.glob("*/metrics.json")])]
    if not files:
        raise UserError(
            f"no metrics.json in {', '.join(map(str, paths))}: run `ssl-bench bench` first, or name a folder"
        )
    return [Record.read(file.parent) for file in {file.resolve(): file for file in files}.values()]


def known_targets(records: Iterable[Record]) -> list[str]:
    """Names that may end a metric's name, longest first; old records do not say them but after ``/accuracy_``."""
    names: set[str] = set()
    for record in records:
        names.update(record.targets)
        for metric in [*record.reference.get("metrics", ()), *(() if record.targets else record.metrics)]:
            names.add(metric.partition("/accuracy_")[2])
    return sorted(names - {""}, key=lambda name: (-len(name), name))


def split_name(metric: str, targets: Sequence[str]) -> tuple[str, str]:
    """Column and target of a metric's name: ``svm/accuracy_hair`` is column ``svm/accuracy`` of target ``hair``.

    Args:
        metric: the name.
        targets: names of targets, longest first, so that ``Black_Hair`` is not taken for ``Hair``.
    """
    target = next((name for name in targets if "/" in metric and metric.endswith(f"_{name}")), "")
    return (metric.removesuffix(f"_{target}") if target else metric), target


def higher_is_better(column: str) -> bool | None:
    """Which way is better, None where neither is."""
    protocol, _, figure = column.rpartition("/")
    if protocol.endswith("_sd") or figure.endswith("_sd"):
        return None
    words = figure.split("_")
    begins = ("_".join(words[:n]) for n in range(len(words), 0, -1))
    return next((HIGHER_IS_BETTER[begin] for begin in begins if begin in HIGHER_IS_BETTER), None)


def average(values: Sequence[float]) -> Cell:
    """Mean and standard error of one figure over seeds."""
    n = len(values)
    return Cell(statistics.fmean(values), statistics.stdev(values) / math.sqrt(n) if n > 1 else None, n)


def number_format(values: Iterable[float]) -> str:
    """Format for a column: three digits of its largest number, at least one decimal; powers of ten for the tiny."""
    sizes = [abs(value) for value in values if value and math.isfinite(value)]
    if sizes and min(sizes) < 1e-4:
        return ".3g"
    decimals = 2 - math.floor(math.log10(max(sizes))) if sizes else 1
    return f".{max(1, decimals)}f"


def make_tables(records: Iterable[Record], metrics: Sequence[str] = ()) -> list[DataTable]:
    """One table per data set.

    Args:
        records: runs on any data.
        metrics: patterns (``kmeans/*``) of the metrics to show, by their whole names; none for the usual ones.

    Raises:
        UserError: no record has a metric that matches.
    """
    by_data: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_data[record.data].append(record)
    tables = [_data_table(data, same, metrics) for data, same in by_data.items()]
    if metrics and not any(table.columns for table in tables):
        there = sorted({name for same in by_data.values() for record in same for name in record.metrics})
        raise UserError(f"no metric matches {' '.join(metrics)}; recorded are {', '.join(there) or 'none'}")
    return [table for table in tables if table.columns or not metrics]


def _data_table(data: str, records: list[Record], patterns: Sequence[str]) -> DataTable:
    references = {r.method: r.reference["metrics"] for r in records if r.reference.get("metrics")}
    named = {metric for reference in references.values() for metric in reference}

    def shown(metric: str) -> bool:
        if patterns:
            return any(fnmatchcase(metric, pattern) for pattern in patterns)
        usual = any(fnmatchcase(metric, pattern) for pattern in DEFAULT)
        return metric in named or (usual and not any(fnmatchcase(metric, variant) for variant in VARIANTS))

    targets = known_targets(records)
    places = [split_name(metric, targets) for record in records for metric in record.metrics if shown(metric)]
    columns, rows_of = list(dict.fromkeys(column for column, _ in places)), list(dict.fromkeys(t for _, t in places))
    rows, notes = _our_rows(records, columns, rows_of)
    formats = {name: number_format(row.cells[name].mean for row in rows if name in row.cells) for name in columns}
    rows = _mark_best(rows, formats)
    for method, reference in references.items():
        found: dict[str, dict[str, Cell]] = defaultdict(dict)
        for metric, value in reference.items():
            column, target = split_name(metric, targets)
            found[target][column] = Cell(value)
        for target in rows_of:
            if cells := {name: cell for name, cell in found[target].items() if name in formats}:
                rows.append(Row(f"{method} (paper)", None, None, target, cells))
    notes += [f"{record.method}: {name} failed: {why}" for record in records for name, why in record.failed.items()]
    if left_out := sorted({name for record in records for name in record.left_out}):
        notes.append(f"constant targets, left out of every mean: {', '.join(left_out)}")
    notes += [
        f"paper: {source}" for source in sorted({r.reference["source"] for r in records if r.reference.get("metrics")})
    ]
    return DataTable(data, formats, rows, len(rows_of) > 1, notes)


def _our_rows(records: list[Record], columns: list[str], targets: list[str]) -> tuple[list[Row], list[str]]:
    """Rows of each setting, never averaged with another, and what is to be said of them."""
    settings: dict[tuple[str, int, str, str, str], dict[int, Record]] = defaultdict(dict)
    notes = []
    for record in records:
        # By which settings and at which commit each figure was found: `evaluate` may have changed some of them later.
        scored = " ".join(sorted(set(record.scored.values())))
        seeds = settings[record.method, record.epochs, record.setting_hash, record.commit or "", scored]
        if record.seed in seeds:  # the same run twice is not two samples
            notes.append(f"{record.method}: seed {record.seed} is recorded more than once and counted once")
        seeds[record.seed] = record
    alike = Counter((method, epochs) for method, epochs, *_ in settings)
    scorings = {setting: {key[4] for key in settings if key[:4] == setting[:4]} for setting in settings}
    rows = []
    for setting, seeds in settings.items():
        method, epochs, hashed, commit, scored = setting
        if alike[method, epochs] > 1:
            head, dash, dirty = commit.partition("-")
            method = f"{method} {hashed} {head[:7]}{dash}{dirty}".strip()
        if len(scorings[setting]) > 1:
            method += f" scored {hashlib.sha256(scored.encode()).hexdigest()[:4]}"
        for target in targets:
            names = {column: f"{column}_{target}" if target else column for column in columns}
            values = {c: [r.metrics[name] for r in seeds.values() if name in r.metrics] for c, name in names.items()}
            cells = {column: average(found) for column, found in values.items() if found}
            rows.append(Row(method, epochs, len(seeds), target, cells))
    return rows, notes


def _mark_best(rows: list[Row], formats: dict[str, str]) -> list[Row]:
    """Mark the best of each column and target where there are several; what is shown alike is best alike."""
    best: dict[tuple[str, str], str] = {}
    for column, spec in formats.items():
        if (higher := higher_is_better(column)) is None:
            continue
        for target in {row.target for row in rows}:
            means = [row.cells[column].mean for row in rows if row.target == target and column in row.cells]
            if len(means) > 1 and (finite := [mean for mean in means if math.isfinite(mean)]):
                best[column, target] = format(max(finite) if higher else min(finite), spec)
    return [
        replace(row, cells={
            column: replace(cell, best=best.get((column, row.target)) == format(cell.mean, formats[column]))
            for column, cell in row.cells.items()
        })
        for row in rows
    ]  # fmt: skip
