"""Import paths that the values of a configuration or a checkpoint may name.

A class path in a file runs the code of its module. Only these are imported: classes of ssl_bench for configurations,
the optimizers of torch, installed packages that declare methods or data sets of ssl_bench as entry points, and modules
that the user named in this command by a flag or by ``--trust FOLDER``. jsonargparse applies this to all values that it
parses, see `enforce`.
"""

import importlib
import re
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib.machinery import PathFinder
from importlib.metadata import entry_points
from importlib.util import find_spec
from inspect import isclass
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from ssl_bench.errors import UserError

PACKAGE = {
    "ssl_bench.data",
    "ssl_bench.generation.pretrained_perceptual",
    "ssl_bench.generation.sources",
    "ssl_bench.methods",
    "ssl_bench.networks",
    "ssl_bench.optim",
    "torch.optim",
}
"""Always allowed: the modules of the classes that configurations consist of. Other modules of ssl_bench, and of torch
such as `torch.hub`, have functions and classes that can run code or write files."""
CLASS = r"[A-Za-z_][\w.]*\.[A-Z]\w*"
"""Import path of a class. A factory function needs ``--trust``, because its path has the same form as a file name."""

LIBRARIES = {"site-packages", "dist-packages"}
"""Names of the folders of installed packages."""

_named: set[str] = set()
_folders: list[str] = []
_enforced: set[str] = set()


def start(folders: Iterable[str]) -> None:
    """Start a command: trust the modules of folders, and nothing that earlier commands of this process trusted.

    Args:
        folders: values of ``--trust``. Each is appended to ``sys.path``, so that it shadows no installed module. The
            folder of a package, with an ``__init__.py``, trusts only this package.

    Raises:
        UserError: a folder contains no module that can be imported.
    """
    for added in _folders:
        if added in sys.path:
            sys.path.remove(added)
    _folders.clear()
    _named.clear()
    for given in folders:
        folder = Path(given).resolve()
        package = ""
        while (folder / "__init__.py").is_file():
            package, folder = folder.name, folder.parent
        _append(folder)
        names = [package] if package else [module.name for module in iter_modules([str(folder)])]
        found = [name for name in names if _is_in(folder, name)]
        if not found:
            raise UserError(f"--trust {given}: no Python module in it; give the folder of the modules that you trust")
        _named.update(found)


def name_classes(arguments: Iterable[str]) -> None:
    """Trust the classes that flags name. The working directory is importable from then on if a class needs it.

    Args:
        arguments: flags and values of the command line, or an import path.
    """
    for path in _classes(arguments):
        top = path.partition(".")[0]
        if top in sys.stdlib_module_names or allowed(path):
            continue
        if _file(top) is None and (Path(f"{top}.py").is_file() or Path(top).is_dir()):
            _append(Path.cwd())
        file = _file(top)
        if file and LIBRARIES & {*file.parts}:  # only the class
            _named.update({path, _definition(path)})
        else:
            _named.add(top)


def name_factory(path: str) -> None:
    """Trust a factory ``MODULE:FUNCTION`` that the command names; its module may be in the working directory.

    Of an installed library only the function is trusted, otherwise its whole package.
    """
    top = path.partition(":")[0].partition(".")[0]
    if _file(top) is None and (Path(f"{top}.py").is_file() or Path(top).is_dir()):
        _append(Path.cwd())
    file = _file(top)
    library = top in sys.stdlib_module_names or bool(file and LIBRARIES & {*file.parts})
    _named.add(path.replace(":", ".") if library else top)


def import_factory(path: str) -> Any:
    """Import a function by ``MODULE:FUNCTION``. Only a command, or ``--trust``, can name it.

    Raises:
        UserError: it is not trusted.
    """
    module, _, name = path.partition(":")
    if not _is_within(f"{module}.{name}", _named):
        raise UserError(f"the configuration names {path}: if you trust its code, give --trust FOLDER (of its module)")
    return getattr(importlib.import_module(module), name)


def allowed(path: str) -> bool:
    """Whether an import path may be imported."""
    return _is_within(path, PACKAGE | _named | _declared(tuple(sys.path)))


def refusal(path: str) -> str:
    """End of an error message about a file that names an import path which may not be imported."""
    return (
        f"names {path}, which is no class of ssl_bench for configurations: if you trust its code, give --trust "
        "FOLDER (the folder of its module), or name the class by a flag such as --method"
    )


def refused(message: str) -> str:
    """The `refusal` in a message of jsonargparse; empty if the message is about something else."""
    found = re.search(r"Importing '([^']+)' is not allowed", message)
    return refusal(found[1]) if found else ""


def import_class(path: str) -> Any:
    """Import a class by the import path that a configuration names.

    Raises:
        UserError: it may not be imported.
    """
    if not allowed(path):
        raise UserError(f"the configuration {refusal(path)}")
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def require_classes(value: Any) -> None:
    """Refuse the functions that a configuration names by ``class_path``: jsonargparse would call them.

    Args:
        value: a configuration, or a part of one. What the user has named may be a function.

    Raises:
        UserError: there is a function, or a class that may not be imported.
    """
    if isinstance(value, list | tuple):
        for item in value:
            require_classes(item)
        return
    items = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    path = items.get("class_path")
    if isinstance(path, str) and "." in path and not _is_within(path, _named) and not isclass(import_class(path)):
        raise UserError(f"the configuration names {path}, which is not a class: give a class, or name it by a flag")
    for item in items.values():
        require_classes(item)


def enforce() -> None:
    """Make jsonargparse refuse values that name anything else. Call it before each parser is used."""
    from jsonargparse import set_parsing_settings

    entries = PACKAGE | _named | _declared(tuple(sys.path))
    earlier = {entry: allowed(entry) for entry in _enforced - entries}
    set_parsing_settings(
        import_path_denylist=["*", *(entry for entry, kept in earlier.items() if not kept)],
        import_path_allowlist=[*entries, *(entry for entry, kept in earlier.items() if kept)],
        instantiate_subclass_spec_in_any=False,
    )
    _enforced.update(entries)


def _is_within(path: str, entries: Iterable[str]) -> bool:
    """Whether an import path is one of the entries, or lies in a module that is one of them."""
    return any(path == entry or path.startswith(f"{entry}.") for entry in entries)


@lru_cache
def _declared(path: tuple[str, ...]) -> frozenset[str]:
    """Top-level packages, on a search path, that declare methods or data sets of ssl_bench."""
    groups = ("ssl_bench.methods", "ssl_bench.datas")
    return frozenset(re.split("[.:]", entry.value)[0] for group in groups for entry in entry_points(group=group))


def _classes(arguments: Iterable[str]) -> Iterator[str]:
    """Import paths of classes in the values of flags, also in YAML. Names of existing files are excluded."""
    for argument in arguments:
        value = argument.partition("=")[2] if argument.startswith("-") else argument
        if re.fullmatch(CLASS, value) and not Path(value).exists():
            yield value
        yield from re.findall(rf"class_path\W+({CLASS})", value)


def _append(folder: Path) -> None:
    """Append a folder to ``sys.path``, unless it is there."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
        _folders.append(str(folder))


def _is_in(folder: Path, name: str) -> bool:
    """Whether a top-level module is imported from a folder, and not shadowed by another module."""
    spec = None if name in sys.stdlib_module_names else PathFinder.find_spec(name)
    return bool(spec and spec.origin and Path(spec.origin).resolve().is_relative_to(folder))


def _file(name: str) -> Path | None:
    """File of a top-level module, or a folder of a namespace package; None if the module is not found."""
    if loaded := getattr(sys.modules.get(name), "__file__", None):
        return Path(loaded).resolve()
    spec = find_spec(name) if name not in sys.modules else None
    places = [spec.origin or "", *(spec.submodule_search_locations or [])] if spec else []
    return next((Path(place).resolve() for place in places if place), None)


def _definition(path: str) -> str:
    """Import path of the module and name by which a class is defined; the given path if it cannot be imported."""
    module, _, name = path.rpartition(".")
    try:
        chosen = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        return path
    return f"{chosen.__module__}.{chosen.__qualname__}"
