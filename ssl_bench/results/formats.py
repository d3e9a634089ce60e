"""Formats of tables: terminal, Markdown, CSV and LaTeX."""

import csv
import io
import re
import sys
from collections.abc import Callable, Iterable, Sequence

from rich.console import Console

from ssl_bench.results.record import Record
from ssl_bench.results.row_text import COUNTS, heading, label_heads, labels_of, notes_of, numbers_of
from ssl_bench.results.table import DataTable, make_tables
from ssl_bench.results.terminal import terminal

PIPED_WIDTH = 140
"""Width of the output in characters if there is no terminal."""


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


def markdown(tables: Sequence[DataTable], console: Console) -> None:
    """Tables in GitHub's Markdown."""
    for table in tables:
        labels = label_heads(table)
        rules = ["---:" if head in COUNTS else "---" for head in labels] + ["---:"] * len(table.columns)
        lines = [[escape_markdown(head) for head in (*labels, *map(heading, table.columns))], rules]
        for row in table.rows:
            label = [escape_markdown(text) for text in labels_of(row, table)]
            lines.append(label + numbers_of(row, table, lambda text, best: f"**{text}**" if best else text))
        write(console, f"**{escape_markdown(table.data)}**", "", *(f"| {' | '.join(line)} |" for line in lines), "")
        notes = notes_of(table)
        write(console, *(f"- {escape_markdown(note)}" for note in notes), *[""] * bool(notes))


def latex(tables: Sequence[DataTable], console: Console) -> None:
    """One LaTeX ``tabular`` per data set, for the package booktabs; notes are comments."""
    for table in tables:
        labels = label_heads(table)
        stacked = [r" \\ ".join(map(escape_latex, heading(name).split("/", 1))) for name in table.columns]
        lines = [[*labels, *(rf"\shortstack[r]{{{head}}}" for head in stacked)]]
        for row in table.rows:
            label = [escape_latex(text) for text in labels_of(row, table)]
            lines.append(label + numbers_of(row, table, latex_number))
        body = [f"{' & '.join(line)} \\\\" for line in lines]
        ours = 1 + sum(row.seeds is not None for row in table.rows)
        rules = [r"\midrule", *body[ours:]] if body[ours:] else []
        alignment = "".join("r" if head in COUNTS else "l" for head in labels) + "r" * len(table.columns)
        write(console, f"% {table.data}", f"\\begin{{tabular}}{{{alignment}}}", r"\toprule", body[0], r"\midrule")
        write(
            console, *body[1:ours], *rules, r"\bottomrule", r"\end{tabular}", *(f"% {n}" for n in notes_of(table)), ""
        )


def comma_separated(tables: Sequence[DataTable], console: Console) -> None:
    """CSV with all data sets in one table, in full precision; notes are printed to the standard error stream."""
    columns = list(dict.fromkeys(column for table in tables for column in table.columns))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    heads = [head for column in columns for head in (heading(column), heading(column, "_se"))]
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
