"""Locations of files in a configuration: where the data, generated views and weights of a run are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ssl_bench.data.locate import data_root

READING = {"root", "num_workers"}
"""Arguments of data sets that do not change the images."""
PATHS = {"folder", "codes", "run", "generator", "rosinality"}
"""Arguments that are paths of what a run reads, besides the ``root`` of data sets."""
INPUTS = PATHS | {"weights"}
"""Arguments that are paths or names of what a run reads. Paths that exist are absolute in a resolved configuration."""


def with_absolute_locations(config: Any) -> Any:
    """A configuration with absolute paths. Paths that do not exist are unchanged, except the root of a data set."""

    def absolute(key: str, value: Any) -> Any:
        if key == "root":
            return str(data_root(value).absolute())
        if key in INPUTS and isinstance(value, str) and (path := Path(value).expanduser()).exists():
            return str(path.absolute())
        return value

    return _replace(config, absolute)


def without_locations(config: Any) -> Any:
    """A configuration that does not depend on where files are and how fast they are read, for hashes.

    The root of a data set and the number of its loader processes are replaced by null, other paths by the name of the
    folder or file. The path of a checkpoint in a run folder is replaced by the name of the run folder. Relative values
    of ``weights``, such as ``organisation/model``, are names and are unchanged.
    """

    def name(key: str, value: Any) -> Any:
        if isinstance(value, str) and (key in PATHS or (key in INPUTS and Path(value).is_absolute())):
            *above, last = Path(value).parts or ("",)
            return above[-2] if last == "last.ckpt" and len(above) > 1 else last
        return None if key in READING else value

    return _replace(config, name)


def input_paths(config: Any, keys: tuple[str, ...] = ()) -> dict[str, Path]:
    """Absolute paths of the existing files and folders that a run reads besides its data, by their keys."""
    if isinstance(config, dict | list):
        items = config.items() if isinstance(config, dict) else ((str(i), item) for i, item in enumerate(config))
        found = [input_paths(value, (*keys, name)) for name, value in items]
        return {key: path for paths in found for key, path in paths.items()}
    if keys and keys[-1] in INPUTS and isinstance(config, str) and (path := Path(config)).is_absolute():
        return {".".join(keys): path} if path.exists() else {}
    return {}


def with_locations_of(located: Any, config: Any) -> Any:
    """A configuration without locations, completed by the locations of another one where both name the same input."""

    def complete(key: str, value: Any, other: Any) -> Any:
        if isinstance(value, dict) and isinstance(other, dict):
            return {name: complete(name, item, other.get(name)) for name, item in value.items()}
        if isinstance(value, list) and isinstance(other, list) and len(value) == len(other):
            return [complete("", *items) for items in zip(value, other, strict=True)]
        return other if without_locations({key: other}) == {key: value} else value

    return complete("", config, located)


def _replace(value: Any, new: Callable[[str, Any], Any], key: str = "") -> Any:
    """Replace the leaves of nested dicts and lists, given their keys."""
    if isinstance(value, dict):
        return {name: _replace(item, new, name) for name, item in value.items()}
    return [_replace(item, new) for item in value] if isinstance(value, list) else new(key, value)
