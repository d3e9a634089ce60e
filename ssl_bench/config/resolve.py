"""Resolve files and flags to a configuration, and build the objects of a configuration."""

from dataclasses import is_dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from ssl_bench.config.agreement import check_named_runs
from ssl_bench.config.devices import given_devices
from ssl_bench.config.known_settings import GROUPS, check_seed, check_trainer
from ssl_bench.config.locations import with_absolute_locations
from ssl_bench.config.names import as_name
from ssl_bench.config.parse_errors import one_line
from ssl_bench.config.schema import EVALUATION, Run, shared_parser
from ssl_bench.config.yaml_file import read_settings
from ssl_bench.data.module import DataModule
from ssl_bench.data.recipes import read_recipe
from ssl_bench.errors import UserError, describe, user_line
from ssl_bench.precision import AUTO, automatic
from ssl_bench.trust import import_class, name_classes, refused, require_classes


def resolve(arguments: list[str], on_this_machine: bool = True) -> Namespace:
    """Parse a stack of files and flags. Classes that flags name are trusted, those that files name are not.

    Args:
        arguments: configuration files and flags.
        on_this_machine: whether to replace the precision ``auto`` by the one that suits this machine.

    Raises:
        UserError: a key or value does not fit the schema, or a file names a class that is not trusted. The message is
            one line with the nearest valid names.
    """
    name_classes(arguments)
    parser = shared_parser()
    try:
        config = parser.parse_args(arguments)
    except (ArgumentError, ImportError) as error:
        raise UserError(one_line(str(error), parser)) from error
    require_groups(config)
    check_seed(config.seed)
    check_trainer(config.trainer.as_dict())
    if str(config.trainer.devices) == "-1":
        config.trainer.devices = "auto"  # Lightning takes -1 for GPUs only
    if config.trainer.precision == AUTO and on_this_machine:
        config.trainer.precision = automatic(config.trainer.accelerator)
    del config["config"]
    name_data(config.data)
    divide_batch(config, arguments)
    return config


def divide_batch(config: Namespace, given: list[str]) -> None:
    """Replace ``data.global_batch_size`` by the ``data.batch_size`` of a process, unless that is given after it.

    The configuration of a run thus contains the batch of a process only.

    Args:
        config: the parsed configuration.
        given: the files and flags from which it was parsed.

    Raises:
        UserError: it is not a multiple of the number of processes times that of accumulated batches.
    """
    arguments = config.data.get("init_args", {})
    size = arguments.get("global_batch_size")
    if not size:
        return
    arguments["global_batch_size"] = 0
    if last_batch(given) != "global_batch_size":
        return
    trainer = config.trainer
    parts = num_devices(trainer.devices, trainer.accelerator) * trainer.num_nodes * trainer.accumulate_grad_batches
    if size % parts:
        raise UserError(
            f"data.global_batch_size {size} cannot be divided into {parts} equal batches of a process and step: give a "
            f"multiple of {parts}"
        )
    arguments["batch_size"] = size // parts


def last_batch(given: list[str]) -> str:
    """The key that is given last in files and flags, ``batch_size`` or ``global_batch_size``; empty if none is."""
    last = ""
    for word, after in zip(given, [*given[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        key = name.removeprefix("--data.").removeprefix("init_args.")
        if name == "--config":
            data = read_settings(Path(value if equals else after)).get("data")
            named = data.get("init_args", {}) if isinstance(data, dict) else {}
            found = [one for one in ("batch_size", "global_batch_size") if named.get(one)]
            last = found[-1] if found else last
        elif name.startswith("--data.") and key in ("batch_size", "global_batch_size"):
            last = key
    return last


def require_groups(config: Namespace) -> None:
    """Refuse a value such as null where a group of keys is expected, which jsonargparse accepts.

    Raises:
        UserError: there is such a value.
    """
    groups = {key: config[key] for key in GROUPS}
    if isinstance(config.evaluation, Namespace):
        default = resolve_name(EVALUATION)()
        parts = [name for name in vars(config.evaluation) if is_dataclass(getattr(default, name))]
        groups |= {f"evaluation.{name}": config.evaluation[name] for name in parts}
    for key, value in groups.items():
        if not isinstance(value, Namespace):
            raise UserError(f"{key} got {value!r}, expected keys with values, or a YAML file of them")


def name_data(data: Namespace) -> None:
    """Set ``data.name`` if the data set has that key and no name is given.

    It is the name of the root folder or zip file, or of the data set if no root is given. The configuration of the run
    then contains the name, so that it stays the same when the folder is moved.
    """
    arguments = data.get("init_args", {})
    if "name" in arguments and not arguments["name"]:
        root = arguments.get("root")
        folder = Path(root).expanduser().resolve().name.removesuffix(".zip") if root else ""
        arguments["name"] = as_name(folder) if folder else import_class(data.class_path).name


def to_dict(config: Namespace) -> dict[str, Any]:
    """A configuration as dicts, lists and scalars, for YAML and JSON.

    Names of recipes are replaced by the steps. Values that are linked to other values are omitted. Locations of files
    are absolute, and ``trainer.devices`` is a number, so that a recorded configuration means the same in another
    working directory and on another machine.

    Raises:
        UserError: ``trainer.devices`` is not valid.
    """
    text = shared_parser().dump(config, skip_link_targets=True, skip_unset=False, skip_validation=True)
    resolved: dict[str, Any] = yaml.safe_load(text)
    for key, recipe in resolved["views"].items():
        if "recipe" in key and recipe is not None:
            resolved["views"][key] = read_recipe(recipe)
    resolved["trainer"]["devices"] = num_devices(
        **{key: resolved["trainer"][key] for key in ("devices", "accelerator")}
    )
    located: dict[str, Any] = with_absolute_locations(resolved)
    return located


def num_devices(devices: object, accelerator: str) -> int:
    """Number of devices of one machine that Lightning's Trainer uses.

    Args:
        devices: see `given_devices`.
        accelerator: name of an accelerator; if all devices are used, GPUs are counted unless it is ``cpu``.

    Raises:
        UserError: `devices` is not valid.
    """
    gpus = torch.cuda.device_count() if accelerator != "cpu" and torch.cuda.is_available() else 1
    return given_devices("trainer.devices", devices) or gpus


def build_data(config: Namespace) -> DataModule:
    """Instantiate the data module of a configuration; see `build`."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(DataModule, "data", required=True)
    data: DataModule = _instantiate(parser, parser.parse_object({"data": config.data})).data
    return data


def build(config: Namespace) -> Run:
    """Instantiate the objects of a configuration.

    Raises:
        UserError: a value has the right type, but its class does not accept it; or a run that it names has the
            checkpoint of another run.
    """
    resolved = to_dict(config)
    check_named_runs(resolved)
    objects = _instantiate(shared_parser(), config)
    chosen = resolved["method"]
    if "image_shape" in config.method.init_args:
        chosen.setdefault("init_args", {})["image_shape"] = list(objects.views.output_shape)
    objects.method.config = chosen
    return Run(objects.data, objects.views, objects.method, objects.evaluation, objects.curve, objects.validation)


def _instantiate(parser: ArgumentParser, config: Namespace) -> Namespace:
    require_classes(config)
    try:
        objects: Namespace = parser.instantiate(config)
    except (ValueError, ArgumentError) as error:
        if denied := refused(str(error)):
            raise UserError(f"the configuration {denied}") from error
        cause: BaseException = error
        while not isinstance(cause, UserError) and (deeper := cause.__cause__ or cause.__context__):
            cause = deeper
        if isinstance(cause, UserError):
            raise UserError(str(cause)) from error
        if user_line(cause):
            hint = "; call super().__init__(**kwargs) first" if "before Module.__init__()" in str(cause) else ""
            raise UserError(f"{config.method.class_path} cannot be built: {describe(cause)}{hint}") from error
        innermost = str(error).rpartition("Errors:")[2].strip().removeprefix("- ")
        raise UserError(innermost.split("\n")[0]) from error
    return objects
