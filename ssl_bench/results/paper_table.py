"""A table of a paper: its rows, columns and values, and our scores for its cells."""

from dataclasses import dataclass, field, replace
from typing import Any

from ssl_bench.results.cells import Cell
from ssl_bench.results.settings import WITH_LABELS

FAMILIES = (
    "generative", "adversarial", "joint-embedding", "masked", "diffusion", "supervised", "baseline",
)  # fmt: skip
"""Families of methods."""


@dataclass(frozen=True)
class Value:
    """A number of a paper.

    Attributes:
        mean: the number.
        spread: the number after ±; `PaperTable.spread` says what it is. None if there is none.
        marked: whether a note of the table is about it, such as on a misprint.
    """

    mean: float
    spread: float | None = None
    marked: bool = False


@dataclass(frozen=True)
class Column:
    """A column of a table, which is repeated for each data set.

    Attributes:
        key: name on the command line.
        label: heading, as in the paper.
        metric: metric of ``metrics.json``; None if the records of runs do not have it.
        note: how the protocol of the paper differs from ours.
    """

    key: str
    label: str
    metric: str | None = None
    note: str = ""


@dataclass(frozen=True)
class DataSet:
    """A data set of a table.

    Attributes:
        key: name of the data set in ``configs/data``.
        label: heading, as in the paper.
        epochs: epochs of training in the paper; None if it does not say.
        seeds: number of seeds of training in the paper; None if it does not say.
        target: target whose metrics are shown, such as ``gender``; empty for data with one target.
        note: how the protocol of the paper differs from ours on this data set.
    """

    key: str
    label: str
    epochs: int | None = None
    seeds: int | None = None
    target: str = ""
    note: str = ""

    def metric(self, column: Column) -> str | None:
        """Metric of a column on this data set."""
        return f"{column.metric}_{self.target}" if column.metric and self.target else column.metric


@dataclass(frozen=True)
class Entry:
    """A row of a table on one data set.

    Attributes:
        values: the paper's values by the keys of the columns; numbers that the paper does not print are missing.
        experiment: the experiment, or row of a table, on which it is stacked; None if this package cannot train it.
        overrides: settings that differ from the experiment, by their flags.
        epochs: epochs of training in the paper; None if it does not say.
        before: command that makes what the run reads, such as generated views; empty if there is none.
        name: name of the experiment of this entry, for ``--experiment``.
    """

    values: dict[str, Value]
    experiment: str | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    epochs: int | None = None
    before: str = ""
    name: str = ""


@dataclass(frozen=True)
class PaperRow:
    """A row of a table.

    Attributes:
        key: name in the file and on the command line.
        label: name of the method, as in the paper.
        family: a name in `FAMILIES`; empty if the row is not a method.
        entries: entries by data set; data sets for which the paper has no row are missing.
        properties: numbers that are not scores, such as the number of parameters, as in `PaperTable.properties`.
        note: why this package cannot train the row; empty if it can.
    """

    key: str
    label: str
    family: str
    entries: dict[str, Entry]
    properties: tuple[float, ...] = ()
    note: str = ""

    @property
    def name(self) -> str:
        """The label, which says so if the method is trained with labels."""
        return f"{self.label} {WITH_LABELS}" if self.family == "supervised" else self.label


@dataclass(frozen=True)
class Ours:
    """Our scores for an entry: of runs that differ only in the seed.

    Attributes:
        epochs: epochs of training.
        seeds: number of seeds.
        cells: mean and standard error by the keys of the columns; metrics that were not computed are missing.
    """

    epochs: int
    seeds: int
    cells: dict[str, Cell]


@dataclass(frozen=True)
class PaperTable:
    """A table of a paper.

    Attributes:
        name: name of its file.
        source: citation and number of the table.
        caption: what the table shows.
        spread: what the numbers after ± are, such as ``standard error``; empty if there are none.
        properties: headings of the columns of `PaperRow.properties`.
        notes: differences from our protocols, and marked values.
        steps: commands that replace those of `config.tables.STEPS`, by their names.
        ours: our scores by the keys of row and data set.
        missing: commands that compute missing scores, by their headings.
    """

    name: str
    source: str
    caption: str
    data: dict[str, DataSet]
    columns: dict[str, Column]
    rows: dict[str, PaperRow]
    spread: str = ""
    properties: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    steps: dict[str, str] = field(default_factory=dict)
    ours: dict[tuple[str, str], Ours] = field(default_factory=dict)
    missing: dict[str, list[str]] = field(default_factory=dict)

    def decimals(self, data: str, column: str) -> int:
        """Number of decimals of a column: the most that the paper prints, at least one."""
        entries = [row.entries[data] for row in self.rows.values() if data in row.entries]
        numbers = [entry.values[column].mean for entry in entries if column in entry.values]
        return max([1, *(len(repr(number).partition(".")[2]) for number in numbers)])

    def select(self, rows: set[str], data: set[str], columns: set[str]) -> "PaperTable":
        """The table with some of its rows, data sets and columns, by their keys."""
        return replace(
            self,
            data={key: one for key, one in self.data.items() if key in data},
            columns={key: column for key, column in self.columns.items() if key in columns},
            rows={key: row for key, row in self.rows.items() if key in rows and row.entries.keys() & data},
        )
