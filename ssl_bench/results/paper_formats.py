"""Formats of papers' tables: terminal, Markdown, CSV and LaTeX."""

import csv
import io
import sys
import textwrap
from collections.abc import Callable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ssl_bench.results.formats import PIPED_WIDTH, escape_latex, escape_markdown, latex_number, write
from ssl_bench.results.metrics import unit
from ssl_bench.results.paper_layout import GAP, Block, Line, Slot, blocks, difference, notes_of
from ssl_bench.results.paper_table import PaperTable

STYLES = {"paper": "", "ours": "bold", "difference": "dim"}
COLUMNS = (
    "table", "row", "label", "family", "data", "column", "metric", "unit", "paper", "paper_spread", "paper_epochs",
    "paper_seeds", "ours", "ours_se", "n", "epochs", "difference", "experiment",
)  # fmt: skip
"""Columns of CSV, which has a line for each row, data set and column."""


def print_paper_tables(tables: Sequence[PaperTable], format: str = "terminal", console: Console | None = None) -> None:
    """Print tables of papers.

    Args:
        tables: tables, filled with our scores.
        format: a name in `PAPER_FORMATS`.
        console: console to print to; default standard output.
    """
    console = console or Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)
    PAPER_FORMATS[format](tables, console)


def terminal(tables: Sequence[PaperTable], console: Console) -> None:
    """Tables for a terminal, divided into blocks that fit into its width."""
    for place, table in enumerate(tables):
        write(console, *[""] * bool(place))
        head = f"{table.name}: {table.source}"
        for text, style in ((head, "bold"), (table.caption, "")):
            console.print(Text("\n".join(_wrap(text, console.width)), style=style))
        for block in blocks(table, console.width):
            write(console, "")
            console.print(_rich_table(table, block))
        write(console, "")
        for note in notes_of(table):
            write(console, *_wrap(note, console.width))
        for heading, commands in table.missing.items():
            write(console, "", *_wrap(f"{heading}:", console.width), *(f"  {command}" for command in commands))


def markdown(tables: Sequence[PaperTable], console: Console) -> None:
    """Tables in GitHub's Markdown."""
    for table in tables:
        write(
            console, f"**{escape_markdown(f'{table.name}: {table.source}')}**", "", escape_markdown(table.caption), ""
        )
        for block in blocks(table, PIPED_WIDTH):
            heads = ["", *(" ".join(filter(None, _heads(table, block, slot))) for slot in block.slots)]
            lines = [[escape_markdown(head) for head in heads], ["---", *["---:"] * len(block.slots)]]
            for line in block.lines:
                styles = ["**{}**" if _is_ours(line, text) else "{}" for text in line.texts]
                texts = [style.format(escape_markdown(text)) for style, text in zip(styles, line.texts, strict=True)]
                lines.append([escape_markdown(line.label.strip()), *texts])
            title = [f"{escape_markdown(block.title)}", ""] if block.title else []
            write(console, *title, *(f"| {' | '.join(line)} |" for line in lines), "")
        write(console, *(f"- {escape_markdown(note)}" for note in notes_of(table)), "")
        for heading, commands in table.missing.items():
            write(console, f"{escape_markdown(heading)}:", "", "```bash", *commands, "```", "")


def latex(tables: Sequence[PaperTable], console: Console) -> None:
    """LaTeX ``tabular`` environments for the package booktabs; citation, notes and commands are comments."""
    for table in tables:
        write(console, f"% {table.name}: {table.source}", f"% {table.caption}")
        for block in blocks(table, PIPED_WIDTH):
            data = [slot.data for slot in block.slots]
            spans = [
                rf"\multicolumn{{{data.count(one)}}}{{c}}{{{escape_latex(table.data[one].label) if one else ''}}}"
                for one in dict.fromkeys(data)
            ]
            heads = ["", *(escape_latex(" ".join(filter(None, _heads(table, None, slot)))) for slot in block.slots)]
            alignment = "l" + "r" * len(block.slots)
            write(console, f"\\begin{{tabular}}{{{alignment}}}", r"\toprule")
            write(console, *[f"{' & '.join(['', *spans])} \\\\"] * (len(table.data) > 1))
            write(console, f"{' & '.join(heads)} \\\\", r"\midrule")
            for line in block.lines:
                indent = r"\quad " if line.kind != "paper" else ""
                texts = [latex_number(escape_latex(text), _is_ours(line, text)) for text in line.texts]
                write(console, f"{' & '.join([indent + escape_latex(line.label.strip()), *texts])} \\\\")
            write(console, r"\bottomrule", r"\end{tabular}")
        write(console, *(f"% {note}" for note in notes_of(table)))
        write(console, *(f"% {line}" for head, lines in table.missing.items() for line in (f"{head}:", *lines)), "")


def comma_separated(tables: Sequence[PaperTable], console: Console) -> None:
    """CSV with one line for each number, in full precision; notes are printed to the standard error stream."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for table in tables:
        for row in table.rows.values():
            for key, column in table.columns.items():
                for data in (table.data[one] for one in row.entries if one in table.data):
                    entry, ours = row.entries[data.key], table.ours.get((row.key, data.key))
                    value, cell = entry.values.get(key), ours and ours.cells.get(key)
                    metric = data.metric(column)
                    writer.writerow({
                        "table": table.name, "row": row.key, "label": row.name, "family": row.family,
                        "data": data.key, "column": key, "metric": metric, "unit": metric and unit(metric),
                        "paper": value and value.mean, "paper_spread": value and value.spread,
                        "paper_epochs": entry.epochs, "paper_seeds": data.seeds,
                        "ours": cell and cell.mean, "ours_se": cell and cell.se, "n": cell and cell.n,
                        "epochs": ours and ours.epochs, "difference": difference(table, row.key, data.key, key),
                        "experiment": entry.name,
                    })  # fmt: skip
        for note in notes_of(table):
            print(f"{table.name}: {note}", file=sys.stderr)
    write(console, text.getvalue().removesuffix("\n"))


PAPER_FORMATS: dict[str, Callable[[Sequence[PaperTable], Console], None]] = {
    "terminal": terminal,
    "markdown": markdown,
    "csv": comma_separated,
    "latex": latex,
}
"""Formats by their names on the command line."""


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)


def _heads(table: PaperTable, block: Block | None, slot: Slot) -> tuple[str, str, str]:
    """Lines of a heading: data set, column and unit.

    The data set is above the first of its columns in the block. It is empty if the block has one, or without a block.
    """
    first = block and next(one for one in block.slots if one.data == slot.data)
    data = table.data[slot.data].label if slot is first and slot.data and block and len(block.data) > 1 else ""
    return data, slot.heading, f"[{slot.unit}]" if slot.unit else ""


def _is_ours(line: Line, text: str) -> bool:
    """Whether a text is a number of ours, which is printed in bold."""
    return line.kind == "ours" and text not in ("", "-")


def _rich_table(table: PaperTable, block: Block) -> Table:
    title = Text(block.title, style="bold") if block.title else None
    shown = Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, GAP - 1, 0, 0),
    )
    shown.add_column("", no_wrap=True)
    heads = [_heads(table, block, slot) for slot in block.slots]
    lines = [place for place, texts in enumerate(zip(*heads, strict=True)) if any(texts)]
    for head in heads:
        shown.add_column(Text("\n".join(head[place] for place in lines)), justify="right", no_wrap=True)
    for line in block.lines:
        shown.add_row(Text(line.label), *map(Text, line.texts), style=STYLES[line.kind])
    return shown
