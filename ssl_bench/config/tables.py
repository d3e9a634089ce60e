"""Rows of papers' tables that are experiments: ``TABLE/ROW`` names a row of ``configs/table/TABLE.yaml``.

A row changes a few settings of an experiment, so that the grid of an ablation is one file.
"""

import json
from dataclasses import dataclass
from typing import Any

import yaml

from ssl_bench.catalogue import config_file, config_names
from ssl_bench.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Args:
        name: the row's name in its file.
        label: difference of the row from the other rows of the table.
        experiment: name of the experiment on which the row is stacked, a file of ``configs/experiment``.
        overrides: settings that differ from the experiment, by their flags, such as ``method.alpha``.
        reference: ``source`` and ``metrics`` of the paper's results; the source of the table if the row gives none.
    """

    name: str
    label: str
    experiment: str
    overrides: dict[str, Any]
    reference: dict[str, Any]

    def arguments(self) -> list[str]:
        """Arguments that stack the row on its experiment."""
        reference = {f"reference.{key}": value for key, value in self.reference.items()}
        flags = {**self.overrides, **reference}
        return [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in flags.items()]


def read_table(name: str) -> dict[str, Row]:
    """Read the rows of a table, by name."""
    table = yaml.safe_load(config_file("table", name).read_text(encoding="utf-8"))
    rows = {}
    for key, row in table["rows"].items():
        reference = {"source": table["source"], **row["reference"]}
        rows[key] = Row(key, row["label"], row["experiment"], row["overrides"], reference)
    return rows


def read_row(name: str) -> Row:
    """Read the row with the name ``TABLE/ROW``.

    Raises:
        UserError: there is no such table or row; the message names the nearest ones.
    """
    table, _, row = name.partition("/")
    rows = read_table(table)
    if row not in rows:
        raise UserError(f"no row named {row!r} in table {table}: {did_you_mean(row, rows)}")
    return rows[row]


def row_names() -> dict[str, str]:
    """Names ``TABLE/ROW`` of all rows, each with its label and the description of its table."""
    tables = config_names("table").items()
    return {
        f"{table}/{key}": f"{row.label}. {line}" for table, line in tables for key, row in read_table(table).items()
    }
