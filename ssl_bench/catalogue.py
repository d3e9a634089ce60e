"""The YAML files of ``configs/``: their folder, their names and their one-line descriptions."""

from pathlib import Path

from ssl_bench.errors import UserError, did_you_mean


def config_root() -> Path:
    """The ``configs`` folder: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def config_path(kind: str, name: str) -> Path:
    """Path of the file with a name. The file may be missing."""
    return config_root() / kind / f"{name}.yaml"


def config_names(kind: str) -> dict[str, str]:
    """Names of the files of one kind, each with its description, which is the first comment line of the file.

    Args:
        kind: a folder of ``configs``: ``data``, ``method``, ``encoder``, ``experiment``, ``table`` or ``views``.
    """
    files = sorted((config_root() / kind).glob("*.yaml"))
    return {f.stem: f.open(encoding="utf-8").readline().lstrip("# ").strip() for f in files}


def config_file(kind: str, name: str) -> Path:
    """Path of an existing file with a name.

    Raises:
        UserError: there is no such file; the message names the nearest ones.
    """
    path = config_path(kind, name)
    if not path.is_file():
        raise UserError(f"no {kind} named {name!r}: {did_you_mean(name, config_names(kind))}")
    return path
