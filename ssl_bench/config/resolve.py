"""From files and flags to a resolved configuration, and from that to its objects."""

import importlib
import inspect
import re
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from ssl_bench.config.schema import Run, make_parser
from ssl_bench.data.views import read_recipe
from ssl_bench.errors import UserError, did_you_mean


def resolve(arguments: list[str]) -> Namespace:
    """Parse a stack of files and flags.

    Raises:
        UserError: a key or value is not of the schema; one line with the nearest valid names.
    """
    parser = make_parser()
    try:
        config = parser.parse_args(arguments)
    except ArgumentError as error:
        raise UserError(explain(str(error), parser)) from error
    del config["config"]
    return config


def explain(message: str, parser: ArgumentParser) -> str:
    """One line from jsonargparse's explanation of what it could not parse."""
    keys = ".".join(re.findall(r'Parser key "([^"]+)"', message)).replace("init_args.", "")
    if unknown := re.search(r"Option '([^']+)' is not accepted|unrecognized arguments: --([^\s=]+)", message):
        name = (unknown[1] or unknown[2]).replace("init_args.", "")
        known: list[str] = [action.dest for action in parser._actions if action.dest != "help"]
        inner = re.match(r"\. Got value: Namespace\(class_path='([^']+)'", message[unknown.end() :])
        if found := inner or re.search(r"class_path '([^']+)'", message):
            module, _, attribute = found[1].rpartition(".")
            bases = getattr(importlib.import_module(module), attribute).__mro__
            known = [key for base in bases for key in inspect.signature(base.__init__).parameters]
            known = [key for key in known if key not in ("self", "args", "kwargs")]
        where = f"{keys}.{name}" if keys else name
        return f"no key {where!r}: {did_you_mean(name, dict.fromkeys(known))}"
    expected = re.findall(r"Expected a (.+?)(?:\. Got value.*)?$", message, re.MULTILINE)
    names = [re.sub(r"<class '([^']+)'>|typing\.", r"\1", kind) for kind in expected]
    names = [name for name in names if name != "NoneType" and "path" not in name]
    if "dot import path" in message and not names:
        names = re.findall(r"Subtypes: \[<class '([^']+)'>", message)[:1]
    value = re.findall(r"(?:Got|Given) value: ([^\n]*?)(?:\. Got value.*)?$", message, re.MULTILINE)
    if nested := re.match(r"NestedArg\(key='([^']+)', val='?([^']*)'?\)", value[0] if value else ""):
        where = f"{keys.removesuffix('.' + nested[1])}.{nested[1]}"
        return f"{where} got {nested[2]!r}: no class or value of that kind; give a class by its import path"
    if keys and value and names:
        return f"{keys} got {value[0]!r}, expected {' or '.join(dict.fromkeys(names))}"
    return " ".join(message.split())


def plain(config: Namespace) -> dict[str, Any]:
    """The configuration as plain data, ready for YAML and JSON: recipes by their steps, linked values left out."""
    text = make_parser().dump(config, skip_link_targets=True, skip_unset=False, skip_validation=True)
    resolved: dict[str, Any] = yaml.safe_load(text)
    for key, recipe in resolved["views"].items():
        if "recipe" in key and recipe is not None:
            resolved["views"][key] = read_recipe(recipe)
    return resolved


def build(config: Namespace) -> Run:
    """Make the objects of a configuration.

    Raises:
        UserError: a value is of the right type but not one the object can take.
    """
    try:
        objects = make_parser().instantiate(config)
    except (ValueError, ArgumentError) as error:
        innermost = str(error).rpartition("Errors:")[2].strip().removeprefix("- ")
        raise UserError(innermost.split("\n")[0]) from error
    chosen = plain(config)["method"]
    if "image_shape" in config.method.init_args:
        chosen.setdefault("init_args", {})["image_shape"] = list(objects.views.output_shape)
    objects.method.config = chosen
    return Run(objects.data, objects.views, objects.method, objects.evaluation, objects.curve)
