"""Metrics that were logged during training, read from the CSV files of a run folder."""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path


def read_log(logs: Path, prefix: str, against: str = "step") -> dict[str, list[tuple[int, float]]]:
    """Steps (or epochs) and values of every logged metric with a prefix, by the name without the prefix.

    A resumed run has one log per session. Rows after the checkpoint from which the next session resumed are dropped.
    Rows that a killed process or a full disk cut off are dropped, too.
    """
    rows: list[dict[str, str]] = []
    for file in sorted(logs.glob("*/metrics.csv"), key=lambda file: int(file.parent.name.removeprefix("version_"))):
        with file.open(encoding="utf-8") as lines:
            session = [row for row in complete_rows(lines) if any(row[n] for n in row if n.startswith(prefix))]
        if session:
            rows = [row for row in rows if int(row["step"]) < int(session[0]["step"])] + session
    names = dict.fromkeys(name for row in rows for name in row if name.startswith(prefix))
    return {
        name.removeprefix(prefix): [(int(row[against]), float(row[name])) for row in rows if row.get(name)]
        for name in names
    }


def complete_rows(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """Rows of a CSV file of numbers by column; lines that are cut off or have other columns are left out."""
    reader = csv.reader(line for line in lines if line.endswith("\n"))
    header = next(reader, [])
    for values in reader:
        if len(values) == len(header) and all(map(is_number, values)):
            yield dict(zip(header, values, strict=True))


def is_number(text: str) -> bool:
    """Whether a value of a log is a number, or empty."""
    try:
        float(text or 0)
    except ValueError:
        return False
    return True
