"""The resolved settings of every experiment, as recorded in ``resolved_experiments.yaml``.

The file holds settings in layers, by dotted keys: those that most experiments share (``all``), those that most
experiments of a method share (``methods``), and those of each experiment that differ from both and from the experiments
that it inherits from (``experiments``). ``python -m tests.config.snapshot`` writes it; read the diff before committing.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ssl_bench.config.resolve import resolve, to_dict
from ssl_bench.config.stack import experiment_names, inherited_files, stack
from ssl_bench.config.tables import read_row
from ssl_bench.data.locate import data_root

Settings = dict[str, Any]

FILE = Path(__file__).parent / "resolved_experiments.yaml"
COMMAND = "python -m tests.config.snapshot"
ABSENT = "(absent)"
"""Value of a key that an experiment does not have, although a layer below has it."""

TRAINER = ("max_epochs", "precision", "log_every_n_steps")
OPTIMIZER = ("lr", "momentum", "nesterov", "betas", "eps", "weight_decay", "trust_coeff", "trust_clip", "fused")
"""Arguments that are recorded; the other defaults of Lightning and torch change with their versions."""


@cache
def resolved(experiment: str) -> dict[str, Any]:
    """The resolved configuration of an experiment."""
    return to_dict(resolve(stack(None, None, experiment), on_this_machine=False))


def resolved_settings(experiment: str) -> Settings:
    """Settings of an experiment by dotted keys."""
    config = deepcopy(resolved(experiment))
    config["trainer"] = {key: config["trainer"][key] for key in TRAINER}
    arguments = config["method"]["init_args"]
    optimizer = arguments["optimizer"]
    optimizer["init_args"] = {key: value for key, value in optimizer["init_args"].items() if key in OPTIMIZER}
    if not config["reference"]["source"]:
        del config["reference"]
    return {key: relative(value) if key.endswith(".root") else value for key, value in flatten(config)}


def relative(root: str) -> str | None:
    """The root of a data set without the working directory; None for the default."""
    path = Path(root)
    return None if path == data_root(None).absolute() else str(path.relative_to(Path.cwd()))


def flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested dicts with their dotted keys; lists, empty dicts and the metrics of a reference are leaves."""
    if isinstance(value, dict) and value and prefix != "reference.metrics":
        for key, item in value.items():
            yield from flatten(item, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix, value


@cache
def recorded() -> dict[str, Any]:
    """The layers of the file."""
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def recorded_settings(experiment: str) -> Settings:
    """Settings of an experiment as the file has them."""
    layers = recorded()
    own = layers["experiments"].get(experiment, {})
    below = inherited_settings(experiment, layers["all"], layers["methods"], layers["experiments"])
    return {key: value for key, value in (below | own).items() if value != ABSENT}


def base_of(experiment: str) -> str:
    """The file of ``configs/experiment`` that an experiment is: of a row of a table, the one it is stacked on."""
    return read_row(experiment).experiment if "/" in experiment else experiment


def inherited_settings(
    experiment: str, common: Settings, methods: dict[str, Settings], experiments: dict[str, Settings]
) -> Settings:
    """Settings of the layers below an experiment."""
    base = base_of(experiment)
    chain = [path.stem for path in inherited_files(base) if path.stem != experiment]
    settings = common | methods.get(base.partition("-")[0], {})
    for name in chain:
        inherited = experiments.get(name, {}).items()
        settings |= {key: value for key, value in inherited if not key.startswith("reference.")}
    return settings


def majority(members: Iterable[Settings], left_out: tuple[str, ...]) -> Settings:
    """The keys that all members have, each with its most frequent value; keys that begin as in `left_out` are not."""
    members = list(members)
    keys = set(members[0]).intersection(*members)
    common = {}
    for key in sorted(key for key in keys if not key.startswith(left_out)):
        values = Counter(yaml.safe_dump(member[key]) for member in members)
        common[key] = yaml.safe_load(values.most_common(1)[0][0])
    return common


def write() -> None:
    """Write the file anew."""
    experiments = {name: resolved_settings(name) for name in sorted(experiment_names())}
    common = majority(experiments.values(), ("names.", "reference.", "data.class_path", "method."))
    groups: dict[str, list[Settings]] = {}
    for name, settings in experiments.items():
        groups.setdefault(base_of(name).partition("-")[0], []).append(settings)
    methods = {name: majority(members, ("names.", "reference.", "data.")) for name, members in groups.items()}
    methods = {name: {k: v for k, v in settings.items() if common.get(k) != v} for name, settings in methods.items()}
    own: dict[str, Settings] = {}
    for name, settings in sorted(experiments.items(), key=lambda item: ("/" in item[0], item[0].count("-"), item[0])):
        below = {key: v for key, v in inherited_settings(name, common, methods, own).items() if v != ABSENT}
        own[name] = difference(settings, below)
    lines = [f"# Resolved settings of every experiment in layers, see tests/config/snapshot.py. {COMMAND} writes them."]
    lines += ["all:", *block(common, 1)]
    for title, layer in (("methods", methods), ("experiments", dict(sorted(own.items())))):
        lines.append(f"{title}:")
        for name, settings in layer.items():
            lines += [f"  {name}:", *block(settings, 2)] if settings else [f"  {name}: {{}}"]
    FILE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def difference(settings: Settings, below: Settings) -> Settings:
    """Settings that differ from those below; keys that are only below are marked as absent."""
    changed = {key: value for key, value in settings.items() if key not in below or below[key] != value}
    return changed | {key: ABSENT for key in below if key not in settings}


def block(settings: Settings, depth: int) -> list[str]:
    def one(value: Any) -> str:
        return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("...\n").strip()

    return [f"{'  ' * depth}{key}: {one(value)}" for key, value in sorted(settings.items())]


if __name__ == "__main__":
    write()
