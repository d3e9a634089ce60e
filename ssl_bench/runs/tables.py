"""`ssl-bench table`: recorded runs as tables, or tables of papers with our scores."""

from collections.abc import Sequence
from pathlib import Path

from ssl_bench.catalogue import config_names
from ssl_bench.errors import UserError, did_you_mean

ALL = "all"
"""Name for all tables."""


def print_tables(
    names: Sequence[str],
    format: str,
    metrics: Sequence[str] = (),
    rows: Sequence[str] = (),
    data: Sequence[str] = (),
    sort: str = "",
) -> None:
    """Print tables of papers if there are any among the names, otherwise tables of recorded runs.

    Args:
        names: names of tables (``all`` for all tables), run folders and folders of them; default ``runs``. A name of a
            table is never a folder; ``./NAME`` is.
        format: terminal, markdown, csv or latex.
        metrics: patterns of metrics, also several separated by commas; empty for the default columns.
        rows: rows of tables of papers; empty for all.
        data: data sets of tables of papers; empty for all.
        sort: metric by which the runs of a data set are sorted.

    Raises:
        UserError: a name, row, data set or metric does not exist, or there are no records.
    """
    metrics, rows, data = ([one for word in words for one in word.split(",")] for words in (metrics, rows, data))
    known = config_names("table")
    chosen = list(known) if ALL in names else [name for name in dict.fromkeys(names) if name in known]
    folders = [Path(name) for name in names if name not in known and name != ALL]
    for folder in folders:
        if not folder.exists() and len(folder.parts) == 1:
            hint = did_you_mean(str(folder), known)
            hint = hint if hint.endswith("?") else "give a folder of runs, or a name from `ssl-bench list tables`"
            raise UserError(f"no table and no folder named {str(folder)!r}: {hint}")
    if not chosen:
        for flag, given in (("--rows", rows), ("--data", data)):
            if given:
                raise UserError(f"{flag} is for tables of papers: name one of {', '.join(known)}")
        print_runs(folders or [Path("runs")], format, metrics, sort)
        return
    if sort:
        raise UserError("--sort is for tables of runs: rows of a paper's table have its order")
    from ssl_bench.config.tables import read_table
    from ssl_bench.results.paper_formats import print_paper_tables
    from ssl_bench.runs.paper_tables import fill, select
    from ssl_bench.runs.recorded_runs import read_runs

    tables = select(map(read_table, chosen), rows, data, metrics)
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"no folder {folder}: give a run folder, or a folder of run folders")
    runs = read_runs(folders or [Path("runs")])
    print_paper_tables([fill(table, runs) for table in tables], format)


def print_runs(folders: Sequence[Path], format: str, metrics: Sequence[str], sort: str) -> None:
    """Print the records of run folders as one table for each data set."""
    from ssl_bench.results.formats import print_table
    from ssl_bench.results.table import read_records

    print_table(read_records(folders), format, metrics, sort=sort)
