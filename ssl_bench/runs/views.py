"""The `ssl-bench views` commands: arguments, processes, and what each command returns."""

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from ssl_bench.config.parse_errors import one_line
from ssl_bench.distributed import rank
from ssl_bench.errors import UserError
from ssl_bench.generation.commands import COMMANDS
from ssl_bench.runs.launch import launch


def views(name: str, arguments: list[str]) -> None:
    """Carry out `ssl-bench views NAME` and print what it returns.

    A command's first argument is positional, its others are flags; fields of `job` and `settings` are flags as well.

    Raises:
        UserError: a flag or value that it does not take, or what the command says.
    """
    function = COMMANDS[name]
    parameters = inspect.signature(function).parameters
    first, groups = next(iter(parameters)), [group for group in ("settings", "job") if group in parameters]
    doc = inspect.getdoc(function) or ""
    parser = ArgumentParser(
        prog=f"ssl-bench views {name}", description=doc.split("\n")[0], exit_on_error=False, allow_abbrev=False
    )
    parser.add_argument(first, help=doc.split(f"    {first}: ")[1].split("\n")[0])
    parser.add_function_arguments(function, skip={first, "device", *groups})
    for group in groups:
        parser.add_class_arguments(parameters[group].annotation)
    if "device" in parameters:
        parser.add_argument("--devices", default="auto", help="processes, one for each device; default auto")
    try:
        given: dict[str, Any] = vars(parser.parse_args(arguments))
    except ArgumentError as error:
        raise UserError(one_line(str(error), parser)) from error
    chosen = {key: value for key, value in given.items() if key in parameters} | {first: Path(given[first])}
    for group in groups:
        kind = parameters[group].annotation
        chosen[group] = kind(**{field.name: given[field.name] for field in fields(kind)})
    if "device" in parameters:
        chosen["device"] = launch(given["devices"]).device
    result = function(**chosen)
    if rank() == 0:
        print(result)
