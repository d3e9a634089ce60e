"""Tables of runs in a terminal."""

import re
import textwrap
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ssl_bench.results.row_text import COUNTS, heading, label_heads, labels_of, notes_of, number_text
from ssl_bench.results.table import DataTable

GAP = 2
"""Spaces between columns."""
FOLDED = 18
"""Width in characters to which names of settings are folded above columns."""


def terminal(tables: Sequence[DataTable], console: Console) -> None:
    """Tables for a terminal, without a cut number.

    A table that is too wide has metrics in rows and settings in columns if it fits then; otherwise it is split into
    several tables.
    """
    for table in tables:
        groups = _column_groups(table, console.width)
        if len(groups) > 1 and _transposed_width(table) <= console.width:
            console.print(_transposed_table(table))
        else:
            for columns in groups:
                console.print(_rich_table(table, columns))
        for note in notes_of(table):
            console.print(note, markup=False, highlight=False)


def _heads(column: str) -> list[str]:
    """The lines of a heading in a terminal: protocol, metric and unit, as far as there are any."""
    return re.split("[/ ]", heading(column))


def _column_groups(table: DataTable, width: int) -> list[list[str]]:
    """Split the columns into groups that fit into the width beside the labels, with at least one column each."""
    labels = [label_heads(table), *(labels_of(row, table) for row in table.rows)]
    widest = [max(map(len, texts)) for texts in zip(*labels, strict=True)]
    taken = sum(min(wide, width // 4) + GAP for wide in widest) + GAP  # longer labels are folded
    groups: list[list[str]] = []
    left = 0
    for name, spec in table.columns.items():
        texts = [*_heads(name), *(number_text(row.cells.get(name), spec, row.seeds) for row in table.rows)]
        wide = max(map(len, texts)) + GAP
        if wide > left:
            groups.append([])
            left = width - taken
        groups[-1].append(name)
        left -= wide
    return groups or [[]]


def _settings_heads(table: DataTable) -> list[list[str]]:
    """The lines of the heading of each setting in a transposed table: its label, folded to `FOLDED` characters."""
    heads = []
    for row in table.rows:
        name, *counts = labels_of(row, table)
        lines = textwrap.wrap(name, FOLDED)
        labels = zip(label_heads(table)[1:], counts, strict=True)
        heads.append([*lines, *(f"{label} {count}" if label in COUNTS else count for label, count in labels if count)])
    return heads


def _transposed_width(table: DataTable) -> int:
    """Width of a table with metrics in rows."""
    texts = [
        [*head, *(number_text(row.cells.get(name), spec, row.seeds) for name, spec in table.columns.items())]
        for head, row in zip(_settings_heads(table), table.rows, strict=True)
    ]
    first = max(map(len, map(heading, table.columns)), default=0)
    return first + GAP + sum(max(map(len, one)) + GAP for one in texts) + GAP


def _transposed_table(table: DataTable) -> Table:
    """A table with metrics in rows and settings in columns."""
    title = Text(table.data, style="bold")
    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, GAP - 1, 0, 0))
    shown.add_column("", no_wrap=True)
    for head, row in zip(_settings_heads(table), table.rows, strict=True):
        style = "italic" if row.seeds is None else None
        shown.add_column(Text("\n".join(head)), justify="right", no_wrap=True, style=style)
    for name, spec in table.columns.items():
        cells = [row.cells.get(name) for row in table.rows]
        numbers = [
            Text(number_text(cell, spec, row.seeds), style="bold" if cell and cell.best else "")
            for cell, row in zip(cells, table.rows, strict=True)
        ]
        shown.add_row(heading(name), *numbers)
    return shown


def _rich_table(table: DataTable, columns: list[str]) -> Table:
    title = Text(table.data, style="bold")
    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, GAP - 1, 0, 0))
    for label in label_heads(table):
        counts = label in COUNTS
        shown.add_column(label, justify="right" if counts else "left", no_wrap=counts, overflow="fold")
    for column in columns:
        shown.add_column(Text("\n".join(_heads(column))), justify="right", no_wrap=True)
    ours = True
    for row in table.rows:
        cells = {name: row.cells.get(name) for name in columns}
        paper = row.seeds is None
        if paper and not any(cells.values()):
            continue  # its values are in another group of columns
        if paper and ours:
            shown.add_section()
        ours = not paper
        numbers = [
            Text(number_text(cell, table.columns[name], row.seeds), style="bold" if cell and cell.best else "")
            for name, cell in cells.items()
        ]
        labels = [Text(text) for text in labels_of(row, table)]
        shown.add_row(*labels, *numbers, style="italic" if paper else None)
    return shown
