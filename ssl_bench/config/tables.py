"""Tables of papers, ``configs/table/TABLE.yaml``; the rows that are experiments are named ``TABLE/ROW``."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ssl_bench.catalogue import config_file, config_names
from ssl_bench.errors import UserError, did_you_mean
from ssl_bench.results.metrics import unit
from ssl_bench.results.paper_table import FAMILIES, Column, DataSet, Entry, PaperRow, PaperTable, Value

NUMBER = re.compile(r"(-?\d+(?:\.\d+)?)(?: ± (\d+(?:\.\d+)?))?(\*?)")
"""A number of a paper: the mean, what follows ±, and the mark of a note."""
TABLE = {"source", "caption", "epochs", "seeds", "spread", "data", "properties", "columns", "rows", "steps", "notes"}
DATA = {"label", "epochs", "seeds", "target", "note"}
COLUMN = {"label", "metric", "unit", "note"}
ENTRY = {"paper", "experiment", "overrides", "epochs", "before"}
ROW = (ENTRY - {"paper"}) | {"label", "family", "note", "properties", "data"}
"""Keys of a table, a data set, a column, a row on one data set, and a row."""
STEPS = {
    "STYLEGAN2_RUN": "ssl-bench fit --experiment stylegan2-{data}",
    "INVERSION_RUN": "ssl-bench fit --experiment inversion-{data} --method.generator=STYLEGAN2_RUN",
    "SIMCLR_RUN": "ssl-bench fit --experiment simclr-{data}",
    "SIMSIAM_RUN": "ssl-bench fit --experiment simsiam-{data}",
    "CODES": "ssl-bench views invert INVERSION_RUN --out views/{data}-codes",
}
"""The command whose result a name in capitals stands for in ``before``, on a data set; a table may replace some."""


@dataclass(frozen=True)
class RowExperiment:
    """A row of a table on one data set, as an experiment.

    Args:
        row: the row's key; the name of the run folder contains it.
        label: difference of the row from the other rows of the table.
        experiment: experiment, or row of a table, on which it is stacked.
        overrides: settings that differ from the experiment, by their flags, such as ``method.alpha``.
        before: command that makes what the run reads, such as generated views; empty if there is none.
        reference: ``source`` and ``metrics`` of the paper's results.
    """

    row: str
    label: str
    experiment: str
    overrides: dict[str, Any]
    before: str
    reference: dict[str, Any]

    def arguments(self) -> list[str]:
        """Arguments that stack the row on its experiment."""
        reference = {f"reference.{key}": value for key, value in self.reference.items()}
        flags = {**self.overrides, **reference}
        return [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in flags.items()]


def read_table(name: str) -> PaperTable:
    """Read a table.

    Raises:
        UserError: there is no such table, or its file is not valid.
    """
    path = config_file("table", name)
    content = yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return parse_table(content, name, path)


def parse_table(content: Any, name: str, path: Path) -> PaperTable:
    """Check the content of a table's file.

    Args:
        content: parsed YAML.
        name: name of the table.
        path: path of the file, for messages.

    Raises:
        UserError: the file is not valid; one line with the place and what is expected.
    """
    table = _keys(content, TABLE, ("source", "caption", "data", "columns", "rows"), f"{path}")
    common = {key: table[key] for key in ("epochs", "seeds") if key in table}
    data = {}
    for key, given in table["data"].items():
        if key not in config_names("data"):
            raise UserError(f"{path}: no data named {key!r}: {did_you_mean(key, config_names('data'))}")
        data[key] = DataSet(key, **(common | _keys(given, DATA, ("label",), f"{path}, data {key}")))
    columns = {key: _column(key, given, path) for key, given in table["columns"].items()}
    rows = {}
    for key, given in table["rows"].items():
        where = f"{path}, row {key}"
        row = _keys(given, ROW, ("label", "data"), where)
        if (family := row.get("family", "")) not in ("", *FAMILIES):
            raise UserError(f"{where}: no family named {family!r}: {did_you_mean(family, FAMILIES)}")
        properties = tuple(row.get("properties", ()))
        if len(properties) != len(table.get("properties", ())):
            raise UserError(f"{where}: {len(properties)} properties, expected {len(table.get('properties', ()))}")
        entries = {}
        for one, cell in row["data"].items():
            if one not in data:
                raise UserError(f"{where}: no data named {one!r} in the table: {did_you_mean(one, data)}")
            entries[one] = _entry(row, cell, data[one], columns, _row_name(name, data, one, key), f"{where}, {one}")
        note = row.get("note", "")
        rows[key] = PaperRow(key, row["label"], family, entries, properties, note)
    properties, notes = (tuple(table.get(key, ())) for key in ("properties", "notes"))
    head = (name, table["source"], table["caption"])
    steps = _keys(table.get("steps", {}), set(STEPS), (), f"{path}, steps")
    return PaperTable(*head, data, columns, rows, table.get("spread", ""), properties, notes, steps)


def _keys(given: Any, known: set[str], required: tuple[str, ...], where: str) -> dict[str, Any]:
    """A mapping whose keys have been checked."""
    if not isinstance(given, dict):
        raise UserError(f"{where}: got {given!r}, expected keys with values")
    for key in given:
        if key not in known:
            raise UserError(f"{where}: unknown key {key!r}: {did_you_mean(str(key), known)}")
    if absent := [key for key in required if key not in given]:
        raise UserError(f"{where}: the key {absent[0]!r} is missing")
    return given


def _column(key: str, given: Any, path: Path) -> Column:
    column = _keys(given, COLUMN, ("label",), f"{path}, column {key}")
    metric, of_paper = column.get("metric"), column.get("unit")
    if metric and of_paper is not None and of_paper != unit(metric):
        ours = unit(metric) or "no unit"
        raise UserError(f"{path}, column {key}: its unit is {of_paper or 'none'}, that of {metric} is {ours}; convert")
    return Column(key, column["label"], metric, column.get("note", ""))


def _entry(row: dict[str, Any], cell: Any, data: DataSet, columns: dict[str, Column], name: str, where: str) -> Entry:
    """A row on one data set: the settings of the row, and those that are given for the data set.

    In ``experiment`` and ``before``, ``{data}`` stands for the name of the data set.
    """
    own: dict[str, Any] = {"paper": cell} if isinstance(cell, list) else _keys(cell, ENTRY, ("paper",), where)
    numbers = own["paper"]
    if len(numbers) != len(columns):
        found = "1 value" if len(numbers) == 1 else f"{len(numbers)} values"
        raise UserError(f"{where}: {found}, expected {len(columns)}, one for each column")
    values = {key: _value(number, where) for key, number in zip(columns, numbers, strict=True) if number is not None}
    settings: dict[str, Any] = {key: own.get(key, row.get(key)) for key in ("experiment", "before", "epochs")}
    experiment, before = ((settings[key] or "").replace("{data}", data.key) for key in ("experiment", "before"))
    overrides = {**row.get("overrides", {}), **own.get("overrides", {})}
    epochs = data.epochs if settings["epochs"] is None else settings["epochs"]
    if overrides and not experiment:
        raise UserError(f"{where}: overrides without an experiment")
    return Entry(values, experiment or None, overrides, epochs, before, name if overrides else experiment)


def _value(number: Any, where: str) -> Value:
    found = NUMBER.fullmatch(str(number))
    if found is None:
        raise UserError(f"{where}: {number!r} is not a number; expected 97.6, 97.6 ± 0.1 or, with a note, 97.6*")
    return Value(float(found[1]), float(found[2]) if found[2] else None, bool(found[3]))


def _row_name(table: str, data: Iterable[str], one: str, row: str) -> str:
    """Name of a row on one data set: ``TABLE/ROW``, or ``TABLE/DATA_ROW`` if the table has several data sets."""
    return f"{table}/{one}_{row}" if len(list(data)) > 1 else f"{table}/{row}"


def row_experiments(table: PaperTable) -> dict[str, RowExperiment]:
    """The rows of a table that can be trained, by their names ``TABLE/ROW`` or ``TABLE/DATA_ROW``."""
    found = {}
    for row in table.rows.values():
        for key, entry in row.entries.items():
            if entry.experiment is None:
                continue
            data = table.data[key]
            name = _row_name(table.name, table.data, key, row.key)
            label = f"{data.label}, {row.label}" if len(table.data) > 1 else row.label
            metrics = {data.metric(table.columns[column]): value.mean for column, value in entry.values.items()}
            epochs = [] if entry.epochs is None else [f"{entry.epochs} epochs"]
            notes = [data.note, *(column.note for column in table.columns.values())]
            source = "; ".join([", ".join([table.source, *epochs]), *dict.fromkeys(filter(None, notes))])
            reference = {"source": source, "metrics": {metric: mean for metric, mean in metrics.items() if metric}}
            settings = (entry.experiment, entry.overrides, entry.before)
            found[name] = RowExperiment(row.key, label, *settings, reference)
    return found


def read_row(name: str) -> RowExperiment:
    """Read the row with the name ``TABLE/ROW``.

    Raises:
        UserError: there is no such table or row; the message names the nearest ones.
    """
    table, _, row = name.partition("/")
    rows = row_experiments(read_table(table))
    if name not in rows:
        known = [known.partition("/")[2] for known in rows]
        raise UserError(f"no row named {row!r} in table {table}: {did_you_mean(row, known)}")
    return rows[name]


def row_names() -> dict[str, str]:
    """Names of all rows with settings of their own, each with its label and the description of its table."""
    return {
        name: f"{row.label}. {line}"
        for table, line in config_names("table").items()
        for name, row in row_experiments(read_table(table)).items()
        if row.overrides
    }
