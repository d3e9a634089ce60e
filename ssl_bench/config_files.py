"""Where the configuration files are and what each says of itself."""

import difflib
from collections.abc import Iterable
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
