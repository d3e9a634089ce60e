"""Runs as a data frame."""

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_bench.errors import UserError
from ssl_bench.results.table import read_records, values_of

if TYPE_CHECKING:
    import pandas

FIELDS = ("method", "family", "data", "epochs", "seed", "untrained", "commit", "date")
"""Columns before the metrics."""


def compare(runs: "str | PathLike[str] | Iterable[str | PathLike[str]]" = "runs") -> "pandas.DataFrame":
    """One row per run, with its metrics and costs as columns. A run that is given twice has one row.

    Args:
        runs: a folder of run folders, a run folder or a loaded run, or several of these.

    Returns:
        A data frame with the run folder as index. Columns are method, data, seed and others, then all metrics (such as
        ``svm/accuracy``), then costs (such as ``seconds/fit``); NaN where a run has no value.

    Raises:
        UserError: there are no runs, or pandas is not installed.

    Example:
        >>> import ssl_bench
        >>> frame = ssl_bench.compare("runs")
        >>> list(frame.groupby("method")["knn_5/accuracy"].agg(["mean", "sem"]).columns)
        ['mean', 'sem']
    """
    try:
        import pandas
    except ImportError as error:
        raise UserError("compare returns a data frame of pandas: `pip install pandas`") from error
    given = [runs] if isinstance(runs, str | PathLike) else list(runs)
    if not given:
        raise UserError("compare got no runs: give a folder of run folders, or run folders")
    records = read_records(map(Path, given))
    metrics = dict.fromkeys(name for record in records for name in record.metrics)
    costs = dict.fromkeys(name for record in records for name in record.costs)
    rows: list[dict[str, Any]] = [{name: getattr(one, name) for name in FIELDS} | values_of(one) for one in records]
    index = pandas.Index([str(record.folder) for record in records], name="run")
    return pandas.DataFrame(rows, index=index, columns=[*FIELDS, *metrics, *costs])
