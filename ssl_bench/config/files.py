"""Names of methods, data sets and experiments to the stack of files that configures a run."""

import importlib
from importlib.metadata import entry_points

from ssl_bench.catalogue import config_file, config_names
from ssl_bench.errors import UserError, did_you_mean


def stack(method: str | None, data: str | None, experiment: str | None) -> list[str]:
    """Arguments that stack the files of these names: data, method, experiment.

    Args:
        method: a name, or the import path of a class.
        data: likewise.
        experiment: a name; by default ``<method>-<data>`` where there is such a file. Given alone it says what method
            and data it is of.

    Raises:
        UserError: there is nothing of that name, or only one of method and data is given.
    """
    variant, file = "", []
    if experiment:
        file = ["--config", str(config_file("experiment", experiment))]
        its_method, its_data, *rest = experiment.split("-", 2)
        if (method or its_method, data or its_data) != (its_method, its_data):
            raise UserError(f"experiment {experiment} is of {its_method} on {its_data}, not of {method} on {data}")
        method, data, variant = its_method, its_data, "".join(f"-{part}" for part in rest)
    elif method and data:
        if f"{method}-{data}" in config_names("experiment"):
            file = ["--config", str(config_file("experiment", f"{method}-{data}"))]
    elif method or data:
        kind = "data" if method else "method"
        raise UserError(f"--{kind} is missing: give one of {', '.join(config_names(kind))}")
    else:
        return []
    names = {"method": method.rpartition(".")[2] + variant, "data": data.rpartition(".")[2]}
    named = [f"--names.{kind}={name}" for kind, name in names.items()]
    return [*choose("data", data), *choose("method", method), *file, *named]


def choose(kind: str, name: str) -> list[str]:
    """Arguments that choose the class of that name, be it a file's, an installed package's or an import path."""
    known = config_names(kind)
    if name in known:
        return ["--config", str(config_file(kind, name))]
    installed = {entry.name: entry.value for entry in entry_points(group=f"ssl_bench.{kind}s")}
    path = installed.get(name, name).replace(":", ".")
    module, _, attribute = path.rpartition(".")
    if not module:
        raise UserError(f"no {kind} named {name!r}: {did_you_mean(name, [*known, *installed])}")
    try:
        getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(f"no {kind} at import path {path!r}: {error}; give PACKAGE.MODULE.CLASS") from error
    return [f"--{kind}", path]
