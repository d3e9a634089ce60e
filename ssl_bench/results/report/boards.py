"""Leaderboards: the scores of all settings on one data set, as values for the tables and plots of the page."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import nan
from typing import NamedTuple

from ssl_bench.results.cells import average
from ssl_bench.results.data_groups import by_data
from ssl_bench.results.metrics import higher_is_better, number_format, unit
from ssl_bench.results.paper_table import FAMILIES
from ssl_bench.results.record import Record
from ssl_bench.results.report.agreement import Correlation, agreement
from ssl_bench.results.row_text import number_text
from ssl_bench.results.settings import Setting, by_setting
from ssl_bench.results.table import differently_scored, is_default, known_targets, split_name, values_of

MAIN_METRICS = (
    "linear_probe/accuracy", "svm/accuracy", "mlp_probe/accuracy", "knn_5/accuracy", "kmeans/accuracy", "gmm/accuracy",
)  # fmt: skip
"""One metric of each protocol that scores encoders: the tasks of the ranking, the heat map and the agreement."""
OTHER = "other"
"""Family of runs whose family is not known or not one of `FAMILIES`."""


@dataclass(frozen=True)
class Column:
    """A metric or cost.

    Attributes:
        name: name of the metric, without a target.
        unit: unit; empty if it has none.
        better: 1 if higher values are better, -1 if lower values are, 0 if neither is.
        shown: whether the column is shown at first.
        cost: whether it is a cost, such as ``seconds/fit``.
    """

    name: str
    unit: str
    better: int
    shown: bool
    cost: bool


class Cell(NamedTuple):
    """A metric of a setting on a target; a tuple, because it is a short list in JSON.

    Attributes:
        mean: mean over seeds.
        se: standard error of the mean; None for one seed.
        text: both, as in the tables of the terminal.
        values: value of each run of the setting, None where it is missing; empty if there is one run.
    """

    mean: float
    se: float | None
    text: str
    values: list[float | None]


@dataclass(frozen=True)
class BoardRow:
    """A setting.

    Attributes:
        name: name of the setting.
        method: name of the method, which is the same on all data sets.
        family: family of the method, a name in `FAMILIES`; ``baseline`` for untrained networks.
        epochs: epochs of training.
        runs: places of its runs in the list of all records, in the order of the seeds.
        seeds: seeds of these runs.
        cells: cells by target and column.
    """

    name: str
    method: str
    family: str
    epochs: int
    runs: list[int]
    seeds: list[int]
    cells: dict[str, dict[str, Cell]]


@dataclass(frozen=True)
class Board:
    """All settings on one data set.

    Attributes:
        data: title of the data set.
        targets: names of the targets of the labels; the mean over them is named ``""``.
        columns: all metrics and costs that a run has.
        rows: settings.
        notes: failed protocols, notes of protocols, metrics that are not comparable, repeated runs, values of papers.
        main: the metrics of `MAIN_METRICS` that a run has.
        agreement: rank correlations of these metrics over trained methods without labels, see `agreement`.
    """

    data: str
    targets: list[str]
    columns: list[Column]
    rows: list[BoardRow]
    notes: list[str] = field(default_factory=list)
    main: list[str] = field(default_factory=list)
    agreement: list[list[Correlation]] = field(default_factory=list)


def make_boards(records: list[Record], families: Mapping[str, str] | None = None) -> list[Board]:
    """One leaderboard per data set; data sets with the same name and different content have separate ones.

    Args:
        records: records of runs.
        families: family of each method by the name of the method, for records that do not have it.
    """
    places = {id(record): place for place, record in enumerate(records)}
    return [_board(data, same, places, families or {}) for data, same in by_data(records).items()]


def _board(data: str, records: list[Record], places: dict[int, int], families: Mapping[str, str]) -> Board:
    targets = known_targets(records)
    costs = {cost for record in records for cost in record.costs}
    split = {
        name: ((name, "") if name in costs else split_name(name, targets))
        for record in records
        for name in values_of(record)
    }
    settings, notes = by_setting(records)
    names = list(dict.fromkeys(column for column, _ in split.values()))
    formats = {
        column: number_format(
            value for record in records for name, value in values_of(record).items() if split[name][0] == column
        )
        for column in names
    }
    rows = [_row(setting, split, formats, places, families) for setting in settings]
    columns = [
        Column(name, unit(name), {True: 1, False: -1, None: 0}[higher_is_better(name)], is_default(name), name in costs)
        for name in names
    ]
    notes += [f"{record.run}: {name} failed: {why}" for record in records for name, why in record.failed.items()]
    notes += dict.fromkeys(f"{record.method}: {note}" for record in records for note in record.notes.values())
    notes += differently_scored(records, dict.fromkeys(name for record in records for name in record.metrics))
    notes += dict.fromkeys(_paper_note(record) for record in records if record.reference.get("metrics"))
    main = [metric for metric in MAIN_METRICS if metric in names]
    without_labels = ranked_rows(row for row in rows if row.family not in ("supervised", "baseline"))
    chosen = [row.cells.get("", {}) for row in without_labels.values()]
    scores = {metric: [cells[metric].mean if metric in cells else nan for cells in chosen] for metric in main}
    found = list(dict.fromkeys(target for name, (_, target) in split.items() if name not in costs))
    return Board(data, found, columns, rows, notes, main, agreement(scores))


def _row(
    setting: Setting,
    split: dict[str, tuple[str, str]],
    formats: dict[str, str],
    places: dict[int, int],
    families: Mapping[str, str],
) -> BoardRow:
    runs = sorted(setting.records, key=lambda record: record.seed)
    known = [values_of(record) for record in runs]
    if not setting.epochs:  # the time of doing nothing is no cost
        known = [{name: value for name, value in one.items() if name != "seconds/fit"} for one in known]
    cells: dict[str, dict[str, Cell]] = {}
    for name in dict.fromkeys(name for one in known for name in one):
        column, target = split[name]
        values = [one.get(name) for one in known]
        cell = average([value for value in values if value is not None])
        text = number_text(cell, formats[column], len(runs))
        cells.setdefault(target, {})[column] = Cell(cell.mean, cell.se, text, values if len(values) > 1 else [])
    first = runs[0]
    return BoardRow(
        setting.name,
        method_name(first),
        "baseline" if first.untrained else _family(first, families),
        setting.epochs,
        [places[id(record)] for record in runs],
        [record.seed for record in runs],
        cells,
    )


def _family(record: Record, families: Mapping[str, str]) -> str:
    """Family of a run: the recorded one, or that of its method, whose name may be followed by a variant."""
    family = record.family or families.get(record.method.partition("-")[0], "")
    return family if family in FAMILIES else OTHER


def _paper_note(record: Record) -> str:
    values = ", ".join(f"{metric} {value:g}" for metric, value in record.reference["metrics"].items())
    return f"{record.method} in the paper: {values} ({record.reference.get('source', '')})"


def method_name(record: Record) -> str:
    """Name of the method of a run, the same on all data sets: with ``(untrained)`` for random weights."""
    return f"{record.method} (untrained)" if record.untrained else record.method


def ranked_rows(rows: Iterable[BoardRow]) -> dict[str, BoardRow]:
    """One setting of each method: with the most epochs, then with the most seeds; it is never chosen by its scores."""
    chosen: dict[str, BoardRow] = {}
    for row in rows:
        other = chosen.get(row.method)
        if other is None or (row.epochs, len(row.runs)) > (other.epochs, len(other.runs)):
            chosen[row.method] = row
    return chosen


@dataclass
class RankingInput:
    """Input of `rank`, and what the page says about it.

    Attributes:
        scores: scores of each method in the main metrics.
        epochs: numbers of epochs of each method over the data sets.
        notes: settings that are not ranked.
    """

    scores: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)
    epochs: dict[str, set[int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def ranking_input(boards: Iterable[Board]) -> RankingInput:
    """Scores of one setting of each method without labels on each data set, see `ranked_rows`."""
    found = RankingInput()
    for board in boards:
        rows = [row for row in board.rows if row.family != "supervised"]
        chosen = ranked_rows(rows)
        for row in rows:
            if row is not (kept := chosen[row.method]):
                found.notes.append(
                    f"{board.data}: {row.name} with {row.epochs} epochs is not ranked; {kept.name} with {kept.epochs} "
                    "epochs is"
                )
        for method, row in chosen.items():
            cells = {metric: cell for metric, cell in row.cells.get("", {}).items() if metric in MAIN_METRICS}
            found.scores.setdefault(method, {})[board.data] = {
                metric: [nan if value is None else value for value in cell.values or [cell.mean]]
                for metric, cell in cells.items()
            }
            found.epochs.setdefault(method, set()).add(row.epochs)
    return found
