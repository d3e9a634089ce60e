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
from ssl_bench.config.stack import stack
from ssl_bench.data.locate import cache_root
from ssl_bench.errors import RunError
from ssl_bench.files import replacing

LIBRARIES = ("jsonargparse", "lightning", "torch", "ssl_bench")
"""Packages whose versions may change a resolved configuration."""


@cache
def resolved_experiment(experiment: str) -> dict[str, Any]:
    """Resolved configuration of an experiment, or of a row of a table, on one device."""
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

    config = to_dict(resolve([*arguments, "--trainer.devices=1"]))
    with suppress(OSError, RunError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as part:
            part.write_text(json.dumps({"state": _state(), "config": config}), encoding="utf-8")
    return config


@cache
def _state() -> str:
    """Hash of the names, sizes and times of all files that determine resolved configurations, and of versions."""
    files = [*Path(__file__).parents[1].rglob("*.py"), *config_root().rglob("*.yaml")]
    stats = sorted((str(file), (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files)
    versions = [sys.version, *map(version, LIBRARIES)]
    return hashlib.sha256(json.dumps([stats, versions]).encode()).hexdigest()
