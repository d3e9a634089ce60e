"""Formats of tables: terminal, Markdown, CSV and LaTeX."""

import csv
import io
import re
import sys
from collections.abc import Callable, Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ssl_bench.results.metrics import unit
from ssl_bench.results.record import Record
from ssl_bench.results.table import Cell, DataTable, Row, make_tables

GAP = 2
COUNTS = ("epochs", "seeds")
PIPED_WIDTH = 140
"""Width of the output in characters if there is no terminal."""
BOLD = (
    "bold: the best, and what differs from it by at most one standard error of the difference; with one seed, only the "
    "best"
)
"""Note below tables with bold numbers."""


def print_table(
    records: Iterable[Record],
    format: str = "terminal",
    metrics: Sequence[str] = (),
    console: Console | None = None,
    sort: str = "",
) -> None:
    """Print one table per data set, with settings and values of papers in rows and metrics in columns.

    Args:
        records: records of runs on any data.
        format: a name in `FORMATS`.
        metrics: patterns of the metrics to show, such as ``kmeans/*``; empty for the default columns.
        console: console to print to; default standard output.
        sort: metric by which settings are sorted, the best first; empty for the order of the records.

    Raises:
        UserError: no record has a metric that matches.
    """
    console = console or Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)
    FORMATS[format](make_tables(records, metrics, sort), console)


def terminal(tables: Sequence[DataTable], console: Console) -> None:
    """Tables for a terminal; a table that is too wide is split into several tables, so that no number is cut."""
    for table in tables:
        for columns in _column_groups(table, console.width):
            console.print(_rich_table(table, columns))
        for note in _notes(table):
            console.print(note, markup=False, highlight=False)


def markdown(tables: Sequence[DataTable], console: Console) -> None:
    """Tables in GitHub's Markdown."""
    for table in tables:
        labels = _labels(table)
        rules = ["---:" if head in COUNTS else "---" for head in labels] + ["---:"] * len(table.columns)
        lines = [[escape_markdown(head) for head in (*labels, *map(_heading, table.columns))], rules]
        for row in table.rows:
            label = [escape_markdown(text) for text in _labels_of(row, table)]
            lines.append(label + _numbers(row, table, lambda text, best: f"**{text}**" if best else text))
        write(console, f"**{escape_markdown(table.data)}**", "", *(f"| {' | '.join(line)} |" for line in lines), "")
        notes = _notes(table)
        write(console, *(f"- {escape_markdown(note)}" for note in notes), *[""] * bool(notes))


def latex(tables: Sequence[DataTable], console: Console) -> None:
    """One LaTeX ``tabular`` per data set, for the package booktabs; notes are comments."""
    for table in tables:
        labels = _labels(table)
        stacked = [r" \\ ".join(map(escape_latex, _heading(name).split("/", 1))) for name in table.columns]
        lines = [[*labels, *(rf"\shortstack[r]{{{head}}}" for head in stacked)]]
        for row in table.rows:
            label = [escape_latex(text) for text in _labels_of(row, table)]
            lines.append(label + _numbers(row, table, latex_number))
        body = [f"{' & '.join(line)} \\\\" for line in lines]
        ours = 1 + sum(row.seeds is not None for row in table.rows)
        rules = [r"\midrule", *body[ours:]] if body[ours:] else []
        alignment = "".join("r" if head in COUNTS else "l" for head in labels) + "r" * len(table.columns)
        write(console, f"% {table.data}", f"\\begin{{tabular}}{{{alignment}}}", r"\toprule", body[0], r"\midrule")
        write(console, *body[1:ours], *rules, r"\bottomrule", r"\end{tabular}", *(f"% {n}" for n in _notes(table)), "")


def comma_separated(tables: Sequence[DataTable], console: Console) -> None:
    """CSV with all data sets in one table, in full precision; notes are printed to the standard error stream."""
    columns = list(dict.fromkeys(column for table in tables for column in table.columns))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    heads = [head for column in columns for head in (_heading(column), _heading(column, "_se"))]
    writer.writerow(["data", "method", "epochs", "seeds", "target", *heads])
    for table in tables:
        for row in table.rows:
            found = [row.cells.get(column) for column in columns]
            values = [value for cell in found for value in ((cell.mean, cell.se) if cell else (None, None))]
            target = row.target or ("mean" if table.has_targets else "")
            writer.writerow([table.data, row.method, row.epochs, row.seeds, target, *values])
        for note in table.notes:
            print(f"{table.data}: {note}", file=sys.stderr)
    write(console, text.getvalue().removesuffix("\n"))


FORMATS: dict[str, Callable[[Sequence[DataTable], Console], None]] = {
    "terminal": terminal,
    "markdown": markdown,
    "csv": comma_separated,
    "latex": latex,
}
"""Formats by their names on the command line."""


def write(console: Console, *lines: str) -> None:
    """Print lines without wrapping or colours."""
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True, emoji=False)


def _labels(table: DataTable) -> list[str]:
    """Headings of the columns that identify a row."""
    return ["method", *COUNTS, *["target"] * table.has_targets]


def _labels_of(row: Row, table: DataTable) -> list[str]:
    """Texts of a row in the columns of `_labels`."""
    counts = ["" if count is None else str(count) for count in (row.epochs, row.seeds)]
    return [row.method, *counts, *[row.target or "mean"] * table.has_targets]


def _number(cell: Cell | None, spec: str, seeds: int | None) -> str:
    """Text of a cell: mean, standard error, and the number of seeds if some lack the metric."""
    if cell is None:
        return "-"
    error = "" if cell.se is None else f" ± {format(cell.se, spec)}"
    return f"{format(cell.mean, spec)}{error}" + (f" (n = {cell.n})" if cell.n < (seeds or 0) else "")


def _numbers(row: Row, table: DataTable, style: Callable[[str, bool], str]) -> list[str]:
    cells = {name: row.cells.get(name) for name in table.columns}
    return [
        style(_number(cell, table.columns[name], row.seeds), cell is not None and cell.best)
        for name, cell in cells.items()
    ]


def _notes(table: DataTable) -> list[str]:
    """The notes of a table, for formats that mark the best values."""
    bold = any(cell.best for row in table.rows for cell in row.cells.values())
    return [*[BOLD] * bold, *table.notes]


def escape_markdown(text: str) -> str:
    """Text with the special characters of Markdown escaped."""
    return re.sub(r"([\\`*_|#&<>\[\]])", r"\\\1", text)


def escape_latex(text: str) -> str:
    """Text with the special characters of LaTeX escaped."""
    words = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return re.sub(r"[\\~^&%$#_{}]", lambda found: words.get(found[0], f"\\{found[0]}"), text)


def latex_number(text: str, bold: bool) -> str:
    """A number with its minus and ± in math mode."""
    text = re.sub(r"(?<![\w])-(?=\d)", "$-$", text).replace("±", r"$\pm$")
    return rf"\textbf{{{text}}}" if bold else text


def _heading(column: str, suffix: str = "") -> str:
    """Name of a column with its unit: ``svm/accuracy [%]``; a suffix belongs to the name."""
    return f"{column}{suffix} [{unit(column)}]" if unit(column) else f"{column}{suffix}"


def _heads(column: str) -> list[str]:
    """The lines of a heading in a terminal: protocol, metric and unit, as far as there are any."""
    return re.split("[/ ]", _heading(column))


def _column_groups(table: DataTable, width: int) -> list[list[str]]:
    """Split the columns into groups that fit into the width beside the labels, with at least one column each."""
    labels = [_labels(table), *(_labels_of(row, table) for row in table.rows)]
    widest = [max(map(len, texts)) for texts in zip(*labels, strict=True)]
    taken = sum(min(wide, width // 4) + GAP for wide in widest) + GAP  # longer labels are folded
    groups: list[list[str]] = []
    left = 0
    for name, spec in table.columns.items():
        texts = [*_heads(name), *(_number(row.cells.get(name), spec, row.seeds) for row in table.rows)]
        wide = max(map(len, texts)) + GAP
        if wide > left:
            groups.append([])
            left = width - taken
        groups[-1].append(name)
        left -= wide
    return groups or [[]]


def _rich_table(table: DataTable, columns: list[str]) -> Table:
    title = Text(table.data, style="bold")
    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, GAP - 1, 0, 0))
    for label in _labels(table):
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
            Text(_number(cell, table.columns[name], row.seeds), style="bold" if cell and cell.best else "")
            for name, cell in cells.items()
        ]
        labels = [Text(text) for text in _labels_of(row, table)]
        shown.add_row(*labels, *numbers, style="italic" if paper else None)
    return shown
