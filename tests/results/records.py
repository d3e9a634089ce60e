"""Records of runs, and their tables as text."""

import re
from io import StringIO

from rich.console import Console

from ssl_bench.results.formats import print_table
from ssl_bench.results.record import Record


def record(method: str = "simvae", seed: int = 0, setting: str = "a", **changes: object) -> Record:
    known = {"data": "digits", "epochs": 2, "config_hash": f"{setting}{seed}", "setting_hash": setting, "commit": None,
             "command": "ssl-bench bench", "device": "cpu", "metrics": {"knn_5/accuracy": 90.0}}  # fmt: skip
    return Record(method=method, seed=seed, **(known | changes))  # type: ignore[arg-type]


def printed(*records: Record, format: str = "terminal", metrics: tuple[str, ...] = (), width: int = 120) -> str:
    console = Console(width=width, record=True, file=StringIO(), force_terminal=True)
    print_table(records, format, metrics, console)
    return console.export_text(styles=format == "terminal")


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", text)
