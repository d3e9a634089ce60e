"""The YAML files of ``configs/``: where they are, what they are called, and the line each says of itself."""

from pathlib import Path

from ssl_bench.errors import UserError, did_you_mean


def config_root() -> Path:
    """The ``configs`` folder: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def config_names(kind: str) -> dict[str, str]:
    """Names of the files of one kind (``data``, ``method``, ...), each with the first comment line of its file."""
    files = sorted((config_root() / kind).glob("*.yaml"))
    return {f.stem: f.open(encoding="utf-8").readline().lstrip("# ").strip() for f in files}


def config_file(kind: str, name: str) -> Path:
    """The file of that name.

    Args:
        kind: ``data``, ``method``, ``encoder``, ``experiment`` or ``views``.
        name: the file's name without its ending.

    Raises:
        UserError: there is none; the message holds the nearest names.
    """
    path = config_root() / kind / f"{name}.yaml"
    if not path.is_file():
        raise UserError(f"no {kind} named {name!r}: {did_you_mean(name, config_names(kind))}")
    return path
