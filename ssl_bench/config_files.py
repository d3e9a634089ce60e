"""Where the configuration files are and what each says of itself."""

import difflib
import importlib
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path

from ssl_bench.errors import UserError


def config_root() -> Path:
    """The folder of configs: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message: the known names most like `name`, else all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(names)}"


def config_names(room: str) -> dict[str, str]:
    """Names in one room of the configs with the line each file says of itself (its first comment)."""
    files = sorted((config_root() / room).glob("*.yaml"))
    return {f.stem: f.open(encoding="utf-8").readline().lstrip("# ").strip() for f in files}


def config_file(room: str, name: str) -> Path:
    """The file of that name.

    Args:
        room: ``data``, ``method``, ``experiment`` or ``views``.
        name: the file's name without its ending.

    Raises:
        UserError: there is none; the message holds the nearest names.
    """
    path = config_root() / room / f"{name}.yaml"
    if not path.is_file():
        raise UserError(f"no {room} named {name!r}: {nearest(name, config_names(room))}")
    return path


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
        room = "data" if method else "method"
        raise UserError(f"--{room} is missing: give one of {', '.join(config_names(room))}")
    else:
        return []
    names = {"method": method.rpartition(".")[2] + variant, "data": data.rpartition(".")[2]}
    named = [f"--names.{room}={name}" for room, name in names.items()]
    return [*choose("data", data), *choose("method", method), *file, *named]


def choose(room: str, name: str) -> list[str]:
    """Arguments that choose the class of that name, be it a file's, an installed package's or an import path."""
    known = config_names(room)
    if name in known:
        return ["--config", str(config_file(room, name))]
    installed = {entry.name: entry.value for entry in entry_points(group=f"ssl_bench.{room}s")}
    path = installed.get(name, name).replace(":", ".")
    module, _, attribute = path.rpartition(".")
    if not module:
        raise UserError(f"no {room} named {name!r}: {nearest(name, [*known, *installed])}")
    try:
        getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(f"no {room} at import path {path!r}: {error}; give PACKAGE.MODULE.CLASS") from error
    return [f"--{room}", path]
