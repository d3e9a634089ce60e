"""Runs with other numbers of epochs and otherwise the same settings."""

from pathlib import Path
from typing import Any

import yaml

from ssl_bench.config.identity import config_hash


def other_epochs(folder: Path, config: dict[str, Any]) -> dict[Path, int]:
    """Runs beside a run folder with other numbers of epochs and otherwise the same settings.

    Only runs with a checkpoint of the same names and seed are compared. The number of epochs is part of a schedule, so
    that training such a run for longer would give another result than the new run.

    Args:
        folder: the run folder.
        config: resolved configuration of the run.

    Returns:
        Number of epochs of each run folder, in the order of the numbers.
    """
    found = {}
    start = folder.name.rpartition("-")[0]
    for file in folder.parent.glob("*/checkpoints/last.ckpt"):
        other = file.parent.parent
        if other.name == folder.name or other.name.rpartition("-")[0] != start:
            continue
        try:
            settings = yaml.safe_load((other / "config.yaml").read_text(encoding="utf-8"))
            if _hash_without_epochs(settings) == _hash_without_epochs(config):
                found[other] = settings["trainer"]["max_epochs"]
        except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, AttributeError):
            continue  # not a run folder of this version
    return dict(sorted(found.items(), key=lambda run: int(run[1])))


def _hash_without_epochs(config: dict[str, Any]) -> str:
    return config_hash({**config, "trainer": {**config["trainer"], "max_epochs": 0}})
