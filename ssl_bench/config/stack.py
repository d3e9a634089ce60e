"""The stack of files that configures a run, from the names of method, data set and experiment."""

import sys
from importlib.metadata import entry_points
from pathlib import Path

from ssl_bench.catalogue import config_file, config_names, config_path
from ssl_bench.config.tables import RowExperiment, read_row, row_names
from ssl_bench.errors import UserError, describe, did_you_mean
from ssl_bench.trust import import_class, name_classes

NO_REFERENCE = ["--reference.source=", "--reference.metrics={}"]
"""Arguments that remove the reference of earlier files, because a paper's results belong to one experiment."""


def experiment_names() -> dict[str, str]:
    """Names of all experiments with their descriptions: files of ``configs/experiment``, then rows of tables."""
    return config_names("experiment") | row_names()


def stack(method: str | None, data: str | None, experiment: str | None) -> list[str]:
    """Arguments that stack the files of a method, a data set and an experiment.

    The order is data, method, base experiment ``<method>-<data>``, variant ``<method>-<data>-<variant>``, row of a
    table. Later settings replace earlier ones. A reference is not inherited.

    Args:
        method: name of a method, or import path of a class.
        data: name of a data set, or import path of a class.
        experiment: name of a file of ``configs/experiment`` or of a row of a table, ``TABLE/ROW``. It determines method
            and data. By default ``<method>-<data>`` is used if this file exists.

    Raises:
        UserError: a name does not exist, only one of method and data is given, or the experiment belongs to another
            method or data set.
    """
    rows, name = rows_of(experiment)
    variant = ""
    if name is not None:
        its_method, its_data, variant = _split(name)
        if (method or its_method, data or its_data) != (its_method, its_data):
            raise UserError(f"experiment {name} is of {its_method} on {its_data}, not of {method} on {data}")
        method, data = its_method, its_data
    if not (method and data):
        if not (method or data):
            return []
        kind = "data" if method else "method"
        raise UserError(f"--{kind} is missing: give one of {', '.join(config_names(kind))}")
    label = method.rpartition(".")[2]
    layers = [*choose("data", data), *choose("method", method)]
    for file in inherited_files(name or f"{method}-{data}"):
        layers += [*NO_REFERENCE, "--config", str(file)]
    if variant:
        label += f"-{variant}"
    for row in rows:
        layers += row.arguments()
        label += f"{'_' if '-' in label else '-'}{row.row}"
    return [f"--names.method={label}", *layers]


def rows_of(experiment: str | None) -> tuple[list[RowExperiment], str | None]:
    """The rows of tables that an experiment is stacked from, the last one on top, and the experiment below them.

    A row without settings of its own is the same run as the experiment that it names.
    """
    rows: list[RowExperiment] = []
    while experiment and "/" in experiment:
        row = read_row(experiment)
        rows[:0] = [row] if row.overrides else []
        experiment = row.experiment
    return rows, experiment


def inherited_files(experiment: str) -> list[Path]:
    """Files of an experiment, from its base experiment to the experiment itself.

    The experiment ``simvae-mnist-released`` inherits from ``simvae-mnist``, and ``a-b-c-d`` from ``a-b`` and ``a-b-c``.
    Files that do not exist are omitted.
    """
    parts = experiment.split("-")
    paths = [config_path("experiment", "-".join(parts[:count])) for count in range(2, len(parts) + 1)]
    return [path for path in paths if path.is_file()]


def _split(experiment: str) -> tuple[str, str, str]:
    """Method, data set and (possibly empty) variant of a file of ``configs/experiment``."""
    if not config_path("experiment", experiment).is_file():
        raise UserError(f"no experiment named {experiment!r}: {did_you_mean(experiment, experiment_names())}")
    method, data, *variant = experiment.split("-", 2)
    return method, data, "".join(variant)


def choose(kind: str, name: str) -> list[str]:
    """Arguments that choose a class by the name of a file, by an entry point or by its import path.

    The file ``NAME.yaml`` beside the module of the entry point NAME, if there is one, is stacked after the class.

    Args:
        kind: ``data``, ``method`` or ``encoder``.
        name: a name from `ssl-bench list`, a name that an installed package declares, or ``PACKAGE.MODULE.CLASS``.

    Raises:
        UserError: the name is unknown, or the import path does not exist.
    """
    known = config_names(kind)
    if name in known:
        return ["--config", str(config_file(kind, name))]
    installed = {entry.name: entry.value for entry in entry_points(group=f"ssl_bench.{kind}s")}
    path = installed.get(name, name).replace(":", ".")
    if "." not in path:
        raise UserError(f"no {kind} named {name!r}: {did_you_mean(name, [*known, *installed])}")
    name_classes([path])
    try:
        import_class(path)
    except (ImportError, AttributeError) as error:
        raise UserError(f"no {kind} at import path {path!r}: {error}; give PACKAGE.MODULE.CLASS") from error
    except UserError:
        raise
    except Exception as error:  # the module of a user may raise any
        raise UserError(f"the module of {path} cannot be imported: {describe(error)}") from error
    return [f"--{kind}", path, *(settings_beside(path, name) if name in installed else [])]


def settings_beside(path: str, name: str) -> list[str]:
    """Arguments that stack the file ``NAME.yaml`` beside the module of an imported class; empty if there is none."""
    file = sys.modules[path.rpartition(".")[0]].__file__
    settings = Path(file or "").with_name(f"{name}.yaml")
    return ["--config", str(settings)] if file and settings.is_file() else []
