"""Layout of a paper's table: blocks of columns, and lines of the paper, of ours and of the difference."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from ssl_bench.results.cells import Cell
from ssl_bench.results.metrics import unit
from ssl_bench.results.paper_table import Entry, PaperRow, PaperTable, Value

GAP = 2
"""Spaces between columns."""
OURS, DIFFERENCE = "  ours", "  difference"
"""Labels of the lines below a row of the paper."""
EPOCHS, SEEDS = "epochs", "n"
"""Columns that are shown beside our scores: epochs if they are not the paper's, and the number of seeds."""


@dataclass(frozen=True)
class Slot:
    """A printed column: a column on a data set, `EPOCHS` or `SEEDS` of a data set, or a property of the rows."""

    data: str
    key: str
    heading: str
    unit: str = ""


@dataclass(frozen=True)
class Line:
    """A printed line; ``kind`` is ``paper``, ``ours`` or ``difference``."""

    kind: str
    label: str
    texts: list[str]


@dataclass(frozen=True)
class Block:
    """Columns that are printed beside each other.

    Attributes:
        title: data set, if the block has one; else empty.
        slots: columns.
        lines: lines, without rows that the paper does not have on these data sets.
    """

    title: str
    slots: list[Slot]
    lines: list[Line]

    @property
    def data(self) -> list[str]:
        """Keys of the data sets of the block."""
        return list(dict.fromkeys(slot.data for slot in self.slots if slot.data))

    @property
    def spans(self) -> list[tuple[str, int]]:
        """Keys of the data sets with their numbers of columns, in order; the key of properties is empty."""
        return [(data, len(list(slots))) for data, slots in groupby(self.slots, key=lambda slot: slot.data)]


def blocks(table: PaperTable, width: int) -> list[Block]:
    """Divide a table into blocks that fit into a width, so that no number is cut.

    Data sets are beside each other as far as they fit; one that does not fit alone is divided by its columns.
    """
    label = max(len(text) for text in [DIFFERENCE, *(row.name for row in table.rows.values())])
    parts: list[list[Slot]] = []
    slots = [Slot("", str(place), heading) for place, heading in enumerate(table.properties)]
    for data in table.data:
        group = [*slots, *_slots_of(table, data)]
        slots = []  # properties are beside the first data set only
        if parts and label + _width(table, [*parts[-1], *group]) <= width:
            parts[-1] += group
            continue
        parts.append([])
        for slot in group:
            if parts[-1] and label + _width(table, [*parts[-1], slot]) > width:
                parts.append([])
            parts[-1].append(slot)
    found = []
    for part in parts:
        data_sets = {slot.data for slot in part if slot.data}
        title = table.data[next(iter(data_sets))].label if len(data_sets) == 1 else ""
        rows = [row for row in table.rows.values() if not data_sets or data_sets & row.entries.keys()]
        found.append(Block(title, part, [line for row in rows for line in _lines(table, row, part)]))
    return found


def number(value: float, decimals: int, sign: str = "") -> str:
    """Text of a number; a difference of zero has no minus."""
    return format(value if abs(value) >= 0.5 * 10**-decimals else 0.0, f"{sign}.{decimals}f")


def value_text(value: Value | None, decimals: int) -> str:
    """Text of a number of the paper."""
    if value is None:
        return ""
    spread = "" if value.spread is None else f" ± {number(value.spread, decimals)}"
    return f"{number(value.mean, decimals)}{spread}{'*' * value.marked}"


def cell_text(cell: Cell | None, decimals: int, seeds: int) -> str:
    """Text of a score of ours, with the number of seeds if some lack the metric."""
    if cell is None:
        return "-"
    error = "" if cell.se is None else f" ± {number(cell.se, decimals)}"
    return f"{number(cell.mean, decimals)}{error}" + (f" (n = {cell.n})" if cell.n < seeds else "")


def _slots_of(table: PaperTable, data: str) -> list[Slot]:
    ours = {row: scores for (row, key), scores in table.ours.items() if key == data}
    other_epochs = any(scores.epochs != table.rows[row].entries[data].epochs for row, scores in ours.items())
    head = [Slot(data, EPOCHS, EPOCHS)] * other_epochs + [Slot(data, SEEDS, SEEDS)] * bool(ours)
    return head + [
        Slot(data, key, column.label, unit(column.metric) if column.metric else "")
        for key, column in table.columns.items()
    ]


def _lines(table: PaperTable, row: PaperRow, slots: list[Slot]) -> Iterator[Line]:
    yield Line("paper", row.name, [_paper_text(table, row, slot) for slot in slots])
    shown = [key for key in dict.fromkeys(slot.data for slot in slots) if key in row.entries]
    if any(row.entries[key].experiment for key in shown):
        yield Line("ours", OURS, [_our_text(table, row, slot) for slot in slots])
    differences = [_difference_text(table, row, slot) for slot in slots]
    if any(differences):
        yield Line("difference", DIFFERENCE, differences)


def _paper_text(table: PaperTable, row: PaperRow, slot: Slot) -> str:
    if not slot.data:
        numbers = [one.properties[int(slot.key)] for one in table.rows.values()]
        decimals = max(len(repr(one).partition(".")[2]) for one in numbers)
        return number(row.properties[int(slot.key)], decimals)
    entry, data = row.entries.get(slot.data), table.data[slot.data]
    if entry is None or slot.key in (EPOCHS, SEEDS):
        count = entry and (entry.epochs if slot.key == EPOCHS else data.seeds)
        return "" if count is None else str(count)
    return value_text(entry.values.get(slot.key), table.decimals(slot.data, slot.key))


def _our_text(table: PaperTable, row: PaperRow, slot: Slot) -> str:
    entry, ours = row.entries.get(slot.data), table.ours.get((row.key, slot.data))
    if entry is None or entry.experiment is None:
        return ""
    if slot.key in (EPOCHS, SEEDS):
        return "" if ours is None else str(ours.epochs if slot.key == EPOCHS else ours.seeds)
    if table.columns[slot.key].metric is None:
        return ""
    if ours is None:
        return "-"
    return cell_text(ours.cells.get(slot.key), table.decimals(slot.data, slot.key), ours.seeds)


def difference(table: PaperTable, row: str, data: str, column: str) -> float | None:
    """Our score minus the paper's; None if one of them is missing."""
    entry: Entry | None = table.rows[row].entries.get(data)
    ours = table.ours.get((row, data))
    if entry is None or ours is None or column not in entry.values or column not in ours.cells:
        return None
    return ours.cells[column].mean - entry.values[column].mean


def _difference_text(table: PaperTable, row: PaperRow, slot: Slot) -> str:
    value = difference(table, row.key, slot.data, slot.key)
    return "" if value is None else number(value, table.decimals(slot.data, slot.key), "+")


def _width(table: PaperTable, slots: list[Slot]) -> int:
    """Width of columns with the gaps before them."""
    lines = [line.texts for row in table.rows.values() for line in _lines(table, row, slots)]
    heads = [max(len(slot.heading), len(slot.unit) + 2 * bool(slot.unit)) for slot in slots]
    data = [slot.data for slot in slots]
    for one in {*data} - {""} if len({*data} - {""}) > 1 else ():
        heads[data.index(one)] = max(heads[data.index(one)], len(table.data[one].label))
    return sum(max(head, *map(len, texts)) + GAP for head, *texts in zip(heads, *lines, strict=True))


def notes_of(table: PaperTable) -> list[str]:
    """Notes on the numbers: epochs and seeds, protocols, rows that only the paper has, and those of the table."""
    paper = [*_of_data(table, "epochs", "epochs"), *_of_data(table, "seeds", "seeds")]
    paper += [f"± is the {table.spread}"] * bool(table.spread)
    notes = [f"paper: {', '.join(paper)}"] * bool(paper)
    notes += ["ours: mean and standard error over n seeds"] * bool(table.ours)
    for column in table.columns.values():
        if text := "; ".join(filter(None, (column.metric or "", column.note))):
            notes.append(f"{column.label}: {text}")
    notes += [f"{data.label}: {data.note}" for data in table.data.values() if data.note]
    reasons: dict[str, list[str]] = {}
    for row in table.rows.values():
        if row.note:
            reasons.setdefault(row.note, []).append(row.label)
    for reason, labels in reasons.items():
        rows = "; ".join(labels) if len(labels) < len(table.rows) else "all rows"
        notes.append(f"only in the paper: {rows} ({reason})")
    marked = any(
        value.marked
        for row in table.rows.values()
        for data, entry in row.entries.items()
        for column, value in entry.values.items()
        if data in table.data and column in table.columns
    )
    return [*notes, *(note for note in table.notes if marked or not note.startswith("*"))]


def _of_data(table: PaperTable, key: str, noun: str) -> list[str]:
    """The number of epochs or seeds in the paper, once if it is that of all data sets."""
    counts = {data.label: getattr(data, key) for data in table.data.values() if getattr(data, key) is not None}
    if len(set(counts.values())) < 2:
        return [_number_of(count, noun) for count in set(counts.values())]
    return [", ".join(f"{_number_of(count, noun)} on {label}" for label, count in counts.items())]


def _number_of(count: int, noun: str) -> str:
    """A count with its noun, which is given in the plural."""
    return f"{count} {noun.removesuffix('s') if count == 1 else noun}"
