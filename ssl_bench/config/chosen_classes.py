"""The method and the data set that names choose, and those of the files that are stacked on them."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from ssl_bench.config.yaml_file import read_settings
from ssl_bench.errors import UserError

KINDS = ("method", "data")


def check_classes(chosen: list[str], files: Mapping[Path, Mapping[str, Any]]) -> None:
    """Check that files of ``--config`` do not replace the method or data set that is chosen by name.

    A complete configuration, such as that of a run, names both. It would silently train another method.

    Args:
        chosen: arguments of `ssl_bench.config.stack.stack` or `choose`; empty if nothing is chosen by name.
        files: contents of the files of ``--config`` by their paths.

    Raises:
        UserError: a file names another class.
    """
    expected: dict[str, str] = {}
    for flag, value in pairwise(chosen):
        if flag == "--config":
            expected |= class_paths(read_settings(Path(value)))
        elif flag.removeprefix("--") in KINDS:
            expected[flag.removeprefix("--")] = value
    for path, settings in files.items():
        for kind, given in class_paths(settings).items():
            if kind in expected and not _same_class(given, expected[kind]):
                raise UserError(
                    f"{path} is of the {kind} {given}, but the command line chooses {expected[kind]}: give another "
                    "file, or --config without --method, --data and --experiment"
                )


def class_paths(settings: Mapping[str, Any]) -> dict[str, str]:
    """Import paths of the method and the data set in a configuration, as far as it names them."""
    values = {kind: settings.get(kind) for kind in KINDS}
    paths = {kind: value.get("class_path") if isinstance(value, dict) else value for kind, value in values.items()}
    return {kind: path for kind, path in paths.items() if isinstance(path, str)}


def _same_class(first: str, second: str) -> bool:
    """Whether two import paths can be of one class: packages also export the classes of their modules."""
    (package, _, name), (other, _, its_name) = first.rpartition("."), second.rpartition(".")
    return name == its_name and (not package or not other or package.partition(".")[0] == other.partition(".")[0])
