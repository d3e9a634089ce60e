"""The `ssl-bench views` commands: parsers built from the dataclasses of their arguments, and dispatch.

Help and usage errors import neither torch nor Lightning.
"""

import argparse
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints

from ssl_bench.errors import UserError, did_you_mean
from ssl_bench.generation.commands.arguments import COMMANDS
from ssl_bench.ranges import range_of
from ssl_bench.runs.checks import check_devices

EPILOG = """`ssl-bench views COMMAND --help` lists the arguments of a command.
An interrupted command resumes. Runs whose classes are not part of ssl_bench
need `--trust FOLDER`, the folder of their modules.
The last line of its output is the path of the result."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are `UserError`."""

    def error(self, message: str) -> NoReturn:
        """Raise the error with a reference to the help."""
        raise UserError(f"{message}; see `{self.prog} --help`")


class Argument:
    """A field of a dataclass as a command-line argument.

    Args:
        field: the field.
        hint: annotation of the field.
        text: description of the field.
    """

    def __init__(self, field: Field[Any], hint: Any, text: str):
        self.name, self.text = field.name, text
        self.flag = field.metadata.get("flag", field.name)
        self.required, self.is_switch = field.default is MISSING, field.metadata.get("switch", False)
        self.default = None if self.required else field.default
        alternatives = [hint] if get_origin(hint) is not None and NoneType not in get_args(hint) else get_args(hint)
        self.hint = next((one for one in alternatives or [hint] if one is not NoneType), hint)
        found = range_of(self.hint)
        self.kind = found[0] if found else self.hint
        self.interval = found[1] if found else None
        self.choices = get_args(self.hint) if get_origin(self.hint) is Literal else None
        self.kind = str if self.choices else self.kind

    @property
    def metavar(self) -> str:
        """Name of the type in the help."""
        if self.choices:
            return "{" + ",".join(self.choices) + "}"
        return {int: "INT", float: "FLOAT", bool: "{true,false}", Path: "PATH"}[self.kind]

    @property
    def help(self) -> str:
        """The description with range and default, for argparse."""
        notes = [str(self.interval).removeprefix("of ")] if self.interval else []
        notes += ["required"] if self.required else []
        if self.default is not None and not self.is_switch:
            default = str(self.default).lower() if isinstance(self.default, bool) else self.default
            notes.append(f"default {default}")
        return (self.text + (f" ({'; '.join(notes)})" if notes else "")).replace("%", "%%")

    def convert(self, text: str) -> Any:
        """Convert the text of the command line.

        Raises:
            argparse.ArgumentTypeError: the text does not have the type of the argument.
        """
        if self.kind is bool:
            if text not in ("true", "false"):
                raise argparse.ArgumentTypeError(f"must be true or false, got {text!r}")
            return text == "true"
        try:
            return self.kind(text)
        except ValueError as error:
            expected = {int: "an integer", float: "a number"}[self.kind]
            raise argparse.ArgumentTypeError(f"must be {expected}, got {text!r}") from error


def first_sentence(text: str) -> str:
    """Return the first sentence of a description, on one line."""
    words = " ".join(text.split())
    return words.split(". ")[0].rstrip(".")


def descriptions(kind: type) -> dict[str, str]:
    """Read the first sentence of each argument from the "Args" section of a class's docstring."""
    doc = inspect.getdoc(kind) or ""
    section = textwrap.dedent(doc.partition("Args:\n")[2].partition("\n\n")[0])
    found: dict[str, str] = {}
    for line in section.splitlines():
        name, _, text = line.partition(": ")
        if line.startswith(" "):
            found[list(found)[-1]] += f" {line.strip()}"
        else:
            found[name] = text
    return {name: first_sentence(text) for name, text in found.items()}


def arguments_of(kind: type) -> Iterator[Argument]:
    """Yield the arguments of a dataclass and of the dataclasses among its fields, in order."""
    hints, texts = get_type_hints(kind, include_extras=True), descriptions(kind)
    for field in fields(kind):
        if is_dataclass(hints[field.name]):
            yield from arguments_of(hints[field.name])
        else:
            yield Argument(field, hints[field.name], texts[field.name])


def command_parser(name: str) -> Parser:
    """Return the parser of a command."""
    command = COMMANDS[name]
    folder, *flags = arguments_of(command.arguments)
    required = [folder.name.upper(), *(f"--{flag.flag} {flag.metavar}" for flag in flags if flag.required)]
    parser = Parser(
        prog=f"ssl-bench views {name}",
        usage=f"ssl-bench views {name} {' '.join(required)} [OPTIONS]",
        description=(inspect.getdoc(command.arguments) or "").split("\n")[0],
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument(folder.name, type=folder.convert, metavar=folder.name.upper(), help=folder.help)
    for flag in flags:
        if flag.is_switch:
            parser.add_argument(f"--{flag.name}", action="store_true", help=flag.help)
            continue
        parser.add_argument(
            f"--{flag.flag}", dest=flag.name, type=flag.convert, metavar=flag.metavar, help=flag.help,
            choices=flag.choices, required=flag.required,
        )  # fmt: skip
    if command.distributed:
        parser.add_argument("--devices", default="auto", metavar="N", help="processes, one per device (default auto)")
    return parser


def build(kind: type, values: dict[str, Any]) -> Any:
    """Build a dataclass, and the dataclasses among its fields, from the values of their arguments by name."""
    hints = get_type_hints(kind, include_extras=True)
    chosen = {}
    for field in fields(kind):
        hint = hints[field.name]
        if isinstance(hint, type) and is_dataclass(hint):
            chosen[field.name] = build(hint, values)
        elif field.name in values:
            chosen[field.name] = values[field.name]
    return kind(**chosen)


def read_arguments(name: str, words: list[str]) -> tuple[Any, str]:
    """Parse and check the arguments of a command.

    Returns:
        The command's dataclass, and the number of devices or ``auto``.

    Raises:
        UserError: an unknown or missing flag, a value out of range, or a folder that does not exist.
    """
    parser = command_parser(name)
    namespace, unknown = parser.parse_known_args(words)
    if unknown:
        flags = [option for action in parser._actions for option in action.option_strings]
        flag = unknown[0].split("=")[0]
        hint = f": {did_you_mean(flag, flags)}" if flag.startswith("-") else f"; see `{parser.prog} --help`"
        raise UserError(f"unknown argument {unknown[0]}{hint}")
    values = vars(namespace)
    command = build(COMMANDS[name].arguments, values)
    for argument in arguments_of(type(command)):
        if argument.required and not values[argument.name].exists():
            raise UserError(f"no folder {values[argument.name]}: {argument.name} must be a {argument.text}")
    return command, values.get("devices", "1")


def print_help() -> None:
    """Print all commands, one per line."""
    parser = argparse.ArgumentParser(
        prog="ssl-bench views",
        usage="ssl-bench views COMMAND [ARGUMENTS]",
        description="Make, show and measure generated views.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    commands = parser.add_argument_group("commands")
    for name, command in COMMANDS.items():
        summary = (inspect.getdoc(command.arguments) or "").split("\n")[0]
        commands.add_argument(name, nargs="?", help=summary.replace("%", "%%"))
    parser.print_help()


def views(words: list[str]) -> None:
    """Carry out `ssl-bench views COMMAND ARGUMENTS` and print the path of the result.

    Raises:
        UserError: a usage error, found before torch is imported if possible, or an error of the command itself.
    """
    if words and words[0] in ("-h", "--help"):
        print_help()
        return
    if not words:
        raise UserError(f"views: COMMAND is missing: give one of {', '.join(COMMANDS)}")
    name, *rest = words
    if name not in COMMANDS:
        raise UserError(f"views: no command {name!r}: {did_you_mean(name, COMMANDS)}")
    command, devices = read_arguments(name, rest)
    if COMMANDS[name].distributed:
        check_devices(devices)

    import torch

    from ssl_bench.distributed import rank
    from ssl_bench.runs.launch import launch

    module, _, function = COMMANDS[name].function.rpartition(".")
    device = launch(devices).device if COMMANDS[name].distributed else torch.device("cpu")
    result = getattr(import_module(module), function)(command, device)
    if rank() == 0:
        print(result)
