"""Find the recorded runs of an experiment: with its settings, and any number of epochs and seed."""

from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from ssl_bench.config.identity import differences, result_settings
from ssl_bench.config.stack import rows_of, stack
from ssl_bench.results.record import Record
from ssl_bench.runs.resolved_experiments import as_chosen, resolved_experiment

YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
NEAR = 3
"""Most keys in which a run differs from an experiment and is mentioned."""


@dataclass(frozen=True)
class RecordedRun:
    """A run folder with a record and a configuration."""

    folder: Path
    record: Record
    config: dict[str, Any]


@dataclass
class RecordedRuns:
    """Recorded runs, and which of them are runs of experiments.

    The configuration of an experiment is needed only if there is a run of the same method and data.

    Attributes:
        runs: all runs.
        counted: folders of the runs that were found.
        near: for each run with the name of an experiment and a few other settings, the experiment and these keys.
    """

    runs: list[RecordedRun]
    counted: set[Path] = field(default_factory=set)
    near: dict[Path, tuple[str, list[str]]] = field(default_factory=dict)

    def of(self, experiment: str) -> list[RecordedRun]:
        """Runs of an experiment, or of a row of a table.

        They have the settings to which it resolves, except for the seed, the number of epochs, the protocols that are
        run and the number of processes among which the batch is divided. A run without epochs is a run only of an
        experiment without epochs. Settings that a run of an older version does not have are not compared.
        """
        if not self.runs:
            return []
        classes = _classes(experiment)
        candidates = [run for run in self.runs if _class_names(run.config) == classes]
        if not candidates:
            return []
        expected = resolved_experiment(experiment)
        found = []
        for run in candidates:
            try:
                keys = _different_keys(run.config, expected)
            except (AttributeError, KeyError, TypeError):
                continue  # a configuration of another version
            if not keys:
                found.append(run)
            elif len(keys) <= NEAR and run.record.method == expected["names"]["method"]:
                nearest = self.near.get(run.folder, (experiment, keys))
                self.near[run.folder] = min(nearest, (experiment, keys), key=lambda near: len(near[1]))
        self.counted |= {run.folder for run in found}
        return found

    def notes(self, experiments: set[str]) -> list[str]:
        """One line about each run that is not one of these experiments because of a few settings."""
        return [
            f"not counted: {folder} differs from {experiment} in {', '.join(keys)}"
            for folder, (experiment, keys) in self.near.items()
            if folder not in self.counted and experiment in experiments
        ]


def read_runs(folders: list[Path]) -> RecordedRuns:
    """Read the run folders, or all run folders in folders, that have a record and a configuration.

    Raises:
        UserError: a record is damaged.
    """
    runs = {}
    for folder in folders:
        for file in sorted([*folder.glob("metrics.json"), *folder.glob("*/metrics.json")]):
            if config := read_config(file.with_name("config.yaml")):
                runs[file.resolve()] = RecordedRun(file.parent, Record.read(file.parent), config)
    return RecordedRuns(list(runs.values()))


def read_config(file: Path) -> dict[str, Any]:
    """A configuration; empty if the file is missing or is not the configuration of a trained run."""
    try:
        config = yaml.load(file.read_text(encoding="utf-8"), YAML_LOADER)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    known = isinstance(config, dict) and all(isinstance(config.get(key), dict) for key in ("method", "data", "trainer"))
    return config if known else {}


@cache
def _classes(experiment: str) -> tuple[str, str]:
    """Names of the classes of method and data, read from the files of an experiment without importing them."""
    chosen: dict[str, Any] = {"method": {}, "data": {}}
    arguments = stack(None, None, rows_of(experiment)[1])
    for flag, file in pairwise(arguments):
        if flag == "--config":
            content = yaml.load(Path(file).read_text(encoding="utf-8"), YAML_LOADER) or {}
            for key in chosen:
                if "class_path" in content.get(key, {}):
                    chosen[key] = content[key]
    return _class_names(chosen)


def _class_names(config: dict[str, Any]) -> tuple[str, str]:
    method, data = (str(config[key].get("class_path")).rpartition(".")[2] for key in ("method", "data"))
    return method, data


def _different_keys(config: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Keys in which the configuration of a run differs from that of an experiment, see `RecordedRuns.of`."""
    keys = [
        keys
        for keys, *_ in differences(_compared(config), _compared(as_chosen(expected, config)))
        if _has(config, keys)
    ]
    untrained = {one["trainer"]["max_epochs"] == 0 for one in (config, expected)}
    return [".".join(key).replace(".init_args", "") for key in keys] + ["trainer.max_epochs"] * (len(untrained) - 1)


def _compared(config: dict[str, Any]) -> dict[str, Any]:
    settings = result_settings(config, seed=False)
    settings.pop("processes", None)
    left_out = {"trainer": "max_epochs", "evaluation": "protocols"}
    return settings | {
        group: {key: value for key, value in settings.get(group, {}).items() if key != name}
        for group, name in left_out.items()
    }


def _has(config: Any, keys: tuple[str, ...]) -> bool:
    """Whether a configuration has a key, whatever its value."""
    for key in keys:
        if not isinstance(config, dict) or key not in config:
            return False
        config = config[key]
    return True
