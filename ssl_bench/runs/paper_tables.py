"""Fill tables of papers with our scores, and list the commands that compute what is missing."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from ssl_bench.catalogue import config_file
from ssl_bench.config.stack import rows_of
from ssl_bench.errors import UserError, did_you_mean
from ssl_bench.evaluation import PROTOCOLS
from ssl_bench.results.cells import average
from ssl_bench.results.data_groups import by_data
from ssl_bench.results.paper_table import DataSet, Entry, Ours, PaperTable
from ssl_bench.results.record import Record
from ssl_bench.results.settings import Setting, by_setting
from ssl_bench.results.table import differently_scored
from ssl_bench.runs.recorded_runs import RecordedRun, RecordedRuns

BEFORE = re.compile(r"# Generated (?:views|images): (ssl-bench .+)")
"""Line of an experiment's file with the command that makes what it reads."""


@dataclass
class Missing:
    """Scores that are missing.

    Attributes:
        before: commands that make what the experiments read.
        experiments: names of experiments without runs, by the number of seeds in the paper.
        protocols: protocols that have not been run, by their folders of runs.
        notes: why a score is missing although there is a run.
    """

    before: list[str] = field(default_factory=list)
    experiments: dict[int, list[str]] = field(default_factory=dict)
    protocols: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def commands(self) -> dict[str, list[str]]:
        """Lines of shell commands by their headings."""
        found = {}
        if self.before:
            heading = (
                "what the missing runs read, and `ssl-bench sweep --table` makes (for CODES and RUN see "
                "ssl_bench/generation/README.md)"
            )
            found[heading] = list(dict.fromkeys(self.before))
        lines: list[str] = []
        for seeds, names in self.experiments.items():
            runs = [f"ssl-bench bench --experiment {name} --seed " for name in dict.fromkeys(names)]
            if seeds == 1:
                lines += [f"{run}0" for run in runs]
            else:
                numbers = " ".join(map(str, range(seeds)))
                lines += [f"for seed in {numbers}; do", *(f"  {run}$seed" for run in runs), "done"]
        if lines:
            found["missing runs"] = lines
        if self.protocols:
            found["missing scores of recorded runs"] = [
                f"ssl-bench evaluate {folder} --evaluation.protocols '[{','.join(dict.fromkeys(protocols))}]'"
                for folder, protocols in self.protocols.items()
            ]
        return found


def select(
    tables: Iterable[PaperTable], rows: Iterable[str], data: Iterable[str], metrics: Iterable[str]
) -> list[PaperTable]:
    """Select rows, data sets and columns of tables; tables of which nothing is left are omitted.

    Args:
        tables: tables.
        rows: keys of rows; empty for all.
        data: names of data sets; empty for all.
        metrics: patterns of columns, by key, heading or metric; empty for all.

    Raises:
        UserError: no table has one of the rows, data sets or columns.
    """
    tables = list(tables)
    _require("row", rows, {key for table in tables for key in table.rows})
    _require("data", data, {key for table in tables for key in table.data})
    columns = [column for table in tables for column in table.columns.values()]
    named = {name for column in columns for name in (column.key, column.label, column.metric) if name}
    for pattern in metrics:
        if not any(fnmatchcase(name, pattern) for name in named):
            raise UserError(f"no column matches {pattern!r}: {did_you_mean(pattern, named)}")
    chosen = []
    for table in tables:
        matching = {
            key
            for key, column in table.columns.items()
            for pattern in metrics
            if any(fnmatchcase(name, pattern) for name in (key, column.label, column.metric or ""))
        }
        columns_left = matching if metrics else set(table.columns)
        part = table.select(set(rows) or set(table.rows), set(data) or set(table.data), columns_left)
        if part.rows and part.columns:
            chosen.append(part)
    return chosen


def _require(kind: str, names: Iterable[str], known: set[str]) -> None:
    for name in names:
        if name not in known:
            raise UserError(f"no {kind} named {name!r} in the table: {did_you_mean(name, known)}")


def fill(table: PaperTable, runs: RecordedRuns) -> PaperTable:
    """A table with our scores, the commands that compute the missing ones, and notes on runs that are not shown."""
    ours, missing, notes = {}, Missing(), []
    shown: dict[str, list[Record]] = {}
    for row in table.rows.values():
        for key, entry in row.entries.items():
            data = table.data.get(key)
            if data is None or entry.experiment is None:
                continue
            found = runs.of(entry.name)
            if not found:
                missing.before += preparation(entry)
                missing.experiments.setdefault(data.seeds or 1, []).append(entry.name)
                continue
            chosen, others = _best_group(table, data, entry, found)
            scores = ours[row.key, key] = _scores(table, data, chosen)
            notes += [f"{row.label} on {data.label}: {note}" for note in others]
            shown.setdefault(key, []).extend(chosen.records)
            _add_missing(missing, table, data, scores, [run for run in found if run.record in chosen.records])
    names = {entry.name for row in table.rows.values() for entry in row.entries.values()}
    for key, records in shown.items():
        metrics = [metric for column in table.columns.values() if (metric := table.data[key].metric(column))]
        notes += [f"{table.data[key].label}: {note}" for note in differently_scored(records, metrics)]
    notes += [*missing.notes, *runs.notes(names)]
    return replace(table, ours=ours, missing=missing.commands(), notes=(*table.notes, *notes))


def preparation(entry: Entry) -> list[str]:
    """Commands that make what the run of an entry reads, such as generated views."""
    rows, experiment = rows_of(entry.name)
    if entry.before or any(row.before for row in rows):
        return [entry.before or next(row.before for row in rows if row.before)]
    return BEFORE.findall(config_file("experiment", experiment or "").read_text(encoding="utf-8"))


def _best_group(table: PaperTable, data: DataSet, entry: Entry, runs: list[RecordedRun]) -> tuple[Setting, list[str]]:
    """The runs that are shown, and notes on the others.

    Runs with other data, epochs, commits or settings of protocols are never averaged. Of several groups of runs, the
    one is shown whose number of epochs is the nearest to the paper's, or the largest if the paper gives none; then the
    one with the most columns, with the most seeds, and the latest.
    """
    metrics = [metric for column in table.columns.values() if (metric := data.metric(column))]

    def order(group: Setting) -> tuple[int, int, int, str]:
        epochs = group.epochs if entry.epochs is None else -abs(group.epochs - entry.epochs)
        computed = sum(any(metric in record.metrics for record in group.records) for metric in metrics)
        return epochs, computed, len(group.records), max(record.date for record in group.records)

    records = [run.record for run in runs]
    groups = [group for alike in by_data(records).values() for group in by_setting(alike)[0]]
    *others, chosen = sorted(groups, key=order)
    shown = [f"{group.epochs} epochs, {_count(len(group.records), 'seed')}" for group in reversed(others)]
    return chosen, [f"other runs, with other epochs, commit or data, are not shown: {'; '.join(shown)}"] * bool(shown)


def _scores(table: PaperTable, data: DataSet, group: Setting) -> Ours:
    cells = {}
    for key, column in table.columns.items():
        metric = data.metric(column)
        if metric and (values := [record.metrics[metric] for record in group.records if metric in record.metrics]):
            cells[key] = average(values)
    return Ours(group.epochs, len(group.records), cells)


def _add_missing(missing: Missing, table: PaperTable, data: DataSet, scores: Ours, runs: list[RecordedRun]) -> None:
    """Add the protocols whose metrics no run has, or the reason for which they failed."""
    for key, column in table.columns.items():
        metric = data.metric(column)
        if metric is None or key in scores.cells:
            continue
        protocol = protocol_of(metric)
        for run in runs:
            if reason := run.record.failed.get(protocol):
                missing.notes.append(f"{run.record.run}: {protocol} failed: {reason}")
            else:
                missing.protocols.setdefault(str(run.folder), []).append(protocol)


def protocol_of(metric: str) -> str:
    """The protocol that computes a metric: ``knn`` of ``knn_5_euclidean/accuracy``, ``generation`` of ``fid``."""
    name, slash, _ = metric.partition("/")
    known = [protocol for protocol in PROTOCOLS if name == protocol or name.startswith(f"{protocol}_")]
    return max(known, key=len) if slash and known else "generation"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
