"""Resolved configurations, kept in a cache, because resolving them imports torch and Lightning."""

import hashlib
import json
import sys
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ssl_bench.catalogue import config_root
from ssl_bench.config.identity import PRECISIONS
from ssl_bench.config.stack import stack
from ssl_bench.data.locate import cache_root
from ssl_bench.errors import RunError
from ssl_bench.files import replacing
from ssl_bench.precision import AUTO, CHOSEN

LIBRARIES = ("jsonargparse", "lightning", "torch", "ssl_bench")
"""Packages whose versions may change a resolved configuration."""


@cache
def resolved_experiment(experiment: str) -> dict[str, Any]:
    """Resolved configuration of an experiment, or of a row of a table, on one device.

    A precision that machines choose is ``auto``, see `as_chosen`.
    """
    return _resolved(experiment, stack(None, None, experiment))


@cache
def resolved_default(method: str, data: str) -> dict[str, Any]:
    """Resolved configuration of a method on a data set without other settings, on one device."""
    return _resolved(f"{method}--{data}", stack(method, data, None))


def _resolved(name: str, arguments: list[str]) -> dict[str, Any]:
    """Resolved configuration of arguments.

    It is read from the cache if neither the code nor the configuration files have changed since it was written.
    """
    root = hashlib.sha256(str(Path(__file__)).encode()).hexdigest()[:8]
    file = cache_root() / "experiments" / root / f"{name.replace('/', '--')}.json"
    with suppress(OSError, ValueError, TypeError, KeyError):
        known = json.loads(file.read_text(encoding="utf-8"))
        if known["state"] == _state():
            config: dict[str, Any] = known["config"]
            return config
    from ssl_bench.config.resolve import resolve, to_dict

    config = to_dict(resolve([*arguments, "--trainer.devices=1"], on_this_machine=False))
    with suppress(OSError, RunError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as part:
            part.write_text(json.dumps({"state": _state(), "config": config}), encoding="utf-8")
    return config


def as_chosen(expected: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """A resolved configuration, with the precision of a run if its machine chose it."""
    precision = PRECISIONS.get(str(config["trainer"]["precision"]), config["trainer"]["precision"])
    if expected["trainer"]["precision"] != AUTO or precision not in CHOSEN:
        return expected
    return expected | {"trainer": expected["trainer"] | {"precision": precision}}


@cache
def _state() -> str:
    """Hash of the names, sizes and times of all files that determine resolved configurations, and of versions."""
    files = [*Path(__file__).parents[1].rglob("*.py"), *config_root().rglob("*.yaml")]
    stats = sorted((str(file), (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files)
    versions = [sys.version, *map(version, LIBRARIES)]
    return hashlib.sha256(json.dumps([stats, versions]).encode()).hexdigest()
