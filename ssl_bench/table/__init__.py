"""Recorded runs side by side, with the papers' figures below: model.py gathers and averages, formats.py writes."""

from ssl_bench.table.formats import FORMATS, print_table
from ssl_bench.table.model import read_records

__all__ = ["FORMATS", "print_table", "read_records"]
