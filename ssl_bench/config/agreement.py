"""Agreement of a run folder's configuration and checkpoint: both must be of one run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ssl_bench.config.identity import config_hash, differences
from ssl_bench.config.locations import with_locations_of, without_locations
from ssl_bench.errors import UserError, shorten
from ssl_bench.methods.base import Method
from ssl_bench.methods.checkpoint import checkpoint_file, method_of, read_checkpoint

SECTIONS = ("method", "data", "seed")
"""Keys of a configuration whose differences are named first."""


def read_config(folder: Path) -> dict[str, Any]:
    """Read the configuration of a run folder; that of scored features has the key ``features``.

    Raises:
        UserError: it is not a run folder, or its configuration is damaged.
    """
    file = folder / "config.yaml"
    if not file.is_file():
        raise UserError(f"no config.yaml in {folder}: give a run folder, as `ssl-bench fit` prints it")
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{file} is damaged: the command that made the run writes it again") from error
    if not isinstance(config, dict) or not ("features" in config or _hash(config)):
        raise UserError(f"{file} is not the configuration of a run: give a run folder, as `ssl-bench fit` prints it")
    return config


def load_run_method(folder: Path, config: dict[str, Any] | None = None) -> Method:
    """Load the trained method of a run folder.

    Args:
        folder: the run folder.
        config: resolved configuration of the run; by default it is read from the folder.

    Raises:
        UserError: there is no checkpoint, it cannot be read, or it is of another run.
    """
    config = read_config(folder) if config is None else config
    checkpoint = read_checkpoint(file := checkpoint_file(folder))
    require_agreement(checkpoint, config, file)
    # A checkpoint has no paths, but a perceptual distance needs that of its weights.
    method = with_locations_of(config["method"], checkpoint["method"])
    return method_of(checkpoint | {"method": method}, file)


def require_agreement(checkpoint: dict[str, Any], config: dict[str, Any], file: Path) -> None:
    """Refuse a checkpoint whose configuration has another hash than that of its run folder.

    Args:
        checkpoint: content of the checkpoint.
        config: resolved configuration of the run.
        file: path of the checkpoint, for the message.

    Raises:
        UserError: the checkpoint is of another run, or has no configuration. The message names the keys that differ.
    """
    theirs, ours = checkpoint.get("config"), without_locations(config)
    recorded = _hash(theirs)
    if recorded is None:
        raise UserError(f"{file} does not contain the configuration of its run: `ssl-bench fit` did not write it")
    if recorded == (expected := _hash(ours)):
        return
    found = sorted(differences(theirs, ours), key=lambda item: [*SECTIONS, item[0][0]].index(item[0][0]))
    found = [item for item in found if _hash(replaced(ours, *item[:2])) != expected] or found
    keys = "; ".join(f"{'.'.join(keys)} is {_short(value)}, not {_short(own)}" for keys, value, own in found[:3])
    more = f" and {len(found) - 3} more keys differ" if len(found) > 3 else ""
    raise UserError(
        f"{file} is of another run than its folder: {keys}{more}: restore the run's own checkpoint, or delete it to "
        "train the run anew"
    )


def check_named_runs(config: dict[str, Any]) -> None:
    """Check the run folders that a configuration names for its method and views, such as that of a generator.

    Raises:
        UserError: the checkpoint of one of them is of another run than its folder.
    """
    for text in {*_strings([config["method"], config["views"]])}:
        folder = Path(text)
        try:
            is_run = (folder / "config.yaml").is_file() and checkpoint_file(folder).is_file()
        except OSError:  # the text is too long for a path
            continue
        if is_run:
            file = checkpoint_file(folder)
            require_agreement(read_checkpoint(file, "meta"), read_config(folder), file)


def replaced(config: dict[str, Any], keys: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Copy a configuration with another value of a nested key."""
    first, *rest = keys
    return config | {first: replaced(config.get(first) or {}, tuple(rest), value) if rest else value}


def _hash(config: Any) -> str | None:
    """The hash of a configuration; None if it is not the configuration of a run."""
    try:
        return config_hash(config)
    except (AttributeError, KeyError, TypeError):
        return None


def _short(value: Any) -> str:
    return shorten(" ".join(str(value).split()), 60)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)
    elif isinstance(value, str):
        yield value
