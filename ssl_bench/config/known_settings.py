"""Checks of the settings whose keys and ranges are known without torch and Lightning, which take long to import.

The keys of methods, data sets, views and protocols are parameters of classes. The parser of the configuration checks
them, after the import.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args

import yaml

from ssl_bench.config.devices import given_devices
from ssl_bench.errors import UserError, did_you_mean, shorten
from ssl_bench.ranges import Interval, NonNegativeFloat, NonNegativeInt, PositiveInt, problem

GROUPS = ("curve", "evaluation", "names", "reference", "trainer", "validation", "views")
"""Keys whose value is a group of keys."""
KEYS = ("channels_last", "data", "method", "seed", *GROUPS)
"""Keys of a configuration."""
FLAGS = ("config", "print_config")
"""Further flags of the parser of the configuration."""
CLASS = {"class_path": str, "init_args": dict, "dict_kwargs": dict}
"""Keys of a class with its arguments, and the types of their values."""

Switch = Literal[True, False] | None
Limit = Annotated[int, Interval(-1)]
TRAINER: dict[str, Any] = {
    "accelerator": Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"],
    "strategy": Any,  # a name, or a class with its arguments
    "devices": Any,  # see `given_devices`
    "num_nodes": PositiveInt,
    "precision": Literal[
        "auto", "32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true", "transformer-engine",
        "transformer-engine-float16", 32, 16, 64, "32", "16", "bf16", "64",
    ] | None,
    "max_epochs": Limit | None,
    "min_epochs": NonNegativeInt | None,
    "max_steps": Limit,
    "min_steps": NonNegativeInt | None,
    "max_time": Any,  # the Trainer itself checks it
    "limit_train_batches": PositiveInt | Annotated[float, Interval(0, 1, closed="right")] | None,
    "log_every_n_steps": NonNegativeInt | None,
    "accumulate_grad_batches": PositiveInt,
    "gradient_clip_val": NonNegativeFloat | None,
    "gradient_clip_algorithm": Literal["norm", "value"] | None,
    "deterministic": Literal[True, False, "warn"] | None,
    "benchmark": Switch,
    "detect_anomaly": Literal[True, False],
    "sync_batchnorm": Literal[True, False],
}  # fmt: skip
"""Arguments of Lightning's Trainer that are keys, with the values that they allow. The others are not keys, because
ssl_bench sets them or they have no effect without a validation loop."""


def check_flags(flags: list[str]) -> None:
    """Check the keys of flags, and the values of those that `TRAINER` and `check_seed` know.

    Args:
        flags: flags of the command line, ``--KEY=VALUE`` or ``--KEY VALUE``.

    Raises:
        UserError: there is no such key, or the value is out of its range.
    """
    for flag, after in zip(flags, [*flags[1:], ""], strict=False):
        if not flag.startswith("--"):
            continue
        name, equals, value = flag.removeprefix("--").partition("=")
        group, dot, key = name.partition(".")
        if group not in (*KEYS, *FLAGS):
            raise UserError(f"no key {group!r}: {did_you_mean(group, [*KEYS, *FLAGS])}")
        given = value if equals else after
        if group == "trainer" and dot:
            check_trainer({key: given}, "--trainer")
        elif name == "seed":
            check_seed(given)


def check_settings(settings: Mapping[str, Any], path: Path) -> None:
    """Check the keys of a file, and the values of those that `TRAINER` and `check_seed` know.

    Args:
        settings: the content of the file.
        path: path of the file, for messages.

    Raises:
        UserError: there is no such key, or the value is out of its range or not a group of keys.
    """
    for key, value in settings.items():
        if key not in KEYS:
            raise UserError(f"{path}: no key {key!r}: {did_you_mean(key, KEYS)}")
        if key in GROUPS and not isinstance(value, dict) and not Path(str(value)).is_file():
            raise UserError(f"{path}: {key} got {_short(value)}, expected keys with values, or a YAML file of them")
        if key in ("data", "method") and not isinstance(value, dict | str):
            raise UserError(f"{path}: {key} got {_short(value)}, expected class_path with init_args")
    _check_classes(settings, path)
    if isinstance(trainer := settings.get("trainer"), dict):
        check_trainer(trainer, f"{path}: trainer")
    if "seed" in settings:
        check_seed(settings["seed"], f"{path}: seed")


def _check_classes(value: Any, path: Path, keys: tuple[str, ...] = ()) -> None:
    """Check the form of the classes in a configuration: ``class_path`` is text, and ``init_args`` has keys."""
    if isinstance(value, list):
        for item in value:
            _check_classes(item, path, keys)
    if not isinstance(value, dict):
        return
    where = f"{path}: {'.'.join(key for key in keys if key != 'init_args')}"
    if CLASS.keys() & value.keys():
        for key, given in value.items():
            if key not in CLASS:
                near = get_close_matches(key, ["init_args"])
                hint = "did you mean init_args?" if near else f"put it under {where.rpartition(' ')[2]}.init_args"
                raise UserError(f"{where} has the key {key!r} beside class_path and init_args: {hint}")
            if not isinstance(given, CLASS[key]) or given == "":
                expected = "the import path of a class" if CLASS[key] is str else "keys with values"
                raise UserError(f"{where}.{key} got {_short(given)}, expected {expected}")
    for key, inner in value.items():
        _check_classes(inner, path, (*keys, key))


def _short(value: object) -> str:
    return shorten(repr(value), 80)


def check_trainer(trainer: Mapping[str, Any], label: str = "trainer") -> None:
    """Check settings of the trainer.

    Args:
        trainer: values by their keys; numbers may be given as text.
        label: begin of the messages: ``trainer`` or ``--trainer``, or ``FILE: trainer`` for settings in a file.

    Raises:
        UserError: there is no such key, or the value is out of its range.
    """
    for key, value in trainer.items():
        if key not in TRAINER:
            place = label.removesuffix("trainer").removesuffix("--")  # the file
            raise UserError(f"{place}no key 'trainer.{key}': {did_you_mean(key, TRAINER)}")
        if key == "devices":
            given_devices(f"{label}.devices", value)
        elif expected := problem(value_of(value), hint := TRAINER[key]):
            null = " or null" if NoneType in get_args(hint) else ""
            raise UserError(f"{label}.{key} must be {expected}{null}, got {value!r}")


def check_seed(seed: object, label: str = "--seed") -> None:
    """Check a seed.

    Raises:
        UserError: it is not an integer in [0, 2**32 - 1], the seeds that NumPy and Lightning accept.
    """
    value = value_of(seed)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**32:
        raise UserError(f"{label} must be an integer in [0, {2**32 - 1}], got {seed!r}")


def value_of(given: object) -> object:
    """The number, truth value or null in a text, as in YAML; other values as they are."""
    if not isinstance(given, str) or not given:
        return given
    for read in (int, float, yaml.safe_load):
        try:
            return read(given)
        except (ValueError, yaml.YAMLError):
            continue
    return given
