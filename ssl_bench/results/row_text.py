"""Texts of the rows of tables of runs, for all formats."""

from collections.abc import Callable

from ssl_bench.results.cells import Cell
from ssl_bench.results.metrics import unit
from ssl_bench.results.table import DataTable, Row

COUNTS = ("epochs", "seeds")
"""Headings of the labels that are numbers."""
BOLD = (
    "bold: the best, and what differs from it by at most one standard error of the difference; with one seed, only the "
    "best"
)
"""Note below tables with bold numbers."""


def label_heads(table: DataTable) -> list[str]:
    """Headings of the columns that identify a row."""
    return ["method", *COUNTS, *["target"] * table.has_targets]


def labels_of(row: Row, table: DataTable) -> list[str]:
    """Texts of a row in the columns of `label_heads`."""
    counts = ["" if count is None else str(count) for count in (row.epochs, row.seeds)]
    return [row.method, *counts, *[row.target or "mean"] * table.has_targets]


def number_text(cell: Cell | None, spec: str, seeds: int | None) -> str:
    """Text of a cell: mean, standard error, and the number of seeds if some lack the metric."""
    if cell is None:
        return "-"
    error = "" if cell.se is None else f" ± {format(cell.se, spec)}"
    return f"{format(cell.mean, spec)}{error}" + (f" (n = {cell.n})" if cell.n < (seeds or 0) else "")


def numbers_of(row: Row, table: DataTable, style: Callable[[str, bool], str]) -> list[str]:
    """Texts of all cells of a row; `style` gets the text of a cell, and whether it is among the best."""
    cells = {name: row.cells.get(name) for name in table.columns}
    return [
        style(number_text(cell, table.columns[name], row.seeds), cell is not None and cell.best)
        for name, cell in cells.items()
    ]


def notes_of(table: DataTable) -> list[str]:
    """The notes of a table, for formats that mark the best values."""
    bold = any(cell.best for row in table.rows for cell in row.cells.values())
    return [*[BOLD] * bold, *table.notes]


def heading(column: str, suffix: str = "") -> str:
    """Name of a column with its unit: ``svm/accuracy [%]``; a suffix belongs to the name."""
    return f"{column}{suffix} [{unit(column)}]" if unit(column) else f"{column}{suffix}"
