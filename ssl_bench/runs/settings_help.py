"""`--KEY.help`: the settings of one part of a configuration, with their types, values and descriptions."""

import inspect
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from pkgutil import resolve_name
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from docstring_parser import parse as parse_docstring
from lightning import Trainer

from ssl_bench.config.resolve import resolve, to_dict
from ssl_bench.config.schema import EVALUATION, Curve, Names, Reference, Validation
from ssl_bench.data.views import Views
from ssl_bench.errors import UserError, did_you_mean
from ssl_bench.ranges import range_of
from ssl_bench.runs.columns import two_columns
from ssl_bench.trust import import_class

PARTS: dict[str, Any] = {
    "views": Views,
    "trainer": Trainer,
    "evaluation": resolve_name(EVALUATION),
    "curve": Curve,
    "validation": Validation,
    "names": Names,
    "reference": Reference,
}
"""Parts of a configuration with a fixed class."""
WORDS = {bool: "true|false", int: "INT", float: "FLOAT", str: "TEXT", Path: "PATH", dict: "MAPPING", NoneType: "null"}
"""Names of types in the help."""


def print_settings(key: str, arguments: list[str]) -> None:
    """Print the settings of one part of a configuration.

    Args:
        key: key of the part, such as ``method`` or ``evaluation.knn``.
        arguments: files and flags of the configuration.

    Raises:
        UserError: there is no such part.
    """
    kind, values = find(key, to_dict(resolve(arguments)))
    print("\n".join(settings_help(key, kind, values, shutil.get_terminal_size().columns)))


def find(key: str, config: dict[str, Any]) -> tuple[Any, dict[str, Any] | None]:
    """Class and values of a part of a resolved configuration; if the part is null, the values are None."""
    first, *rest = key.split(".")
    kind, node = PARTS.get(first), config.get(first)
    if first not in PARTS and not chosen_class(node):
        parts = [name for name, value in config.items() if name in PARTS or chosen_class(value)]
        raise UserError(f"--{key}.help: no settings under {first!r}: {did_you_mean(first, parts)}")
    kind = chosen_class(node) or kind
    for name in rest:
        hints, values = hints_of(kind), values_of(node)
        known = {name: part_class(hints.get(name), value) for name, value in defaults(kind, values).items()}
        below = [name for name, part in known.items() if part is not None]
        if name not in below:
            raise UserError(f"--{key}.help: no settings under {name!r}: {did_you_mean(name, below)}")
        kind, node = known[name], (values or {}).get(name)
    return kind, values_of(node)


def settings_help(key: str, kind: Any, values: dict[str, Any] | None, width: int) -> list[str]:
    """Lines of text: a class and its settings.

    Args:
        key: key of the part.
        kind: class of the part.
        values: values of the settings; None for the defaults of the class.
        width: number of columns of the terminal.
    """
    hints, texts = hints_of(kind), descriptions(kind)
    rows, nested = [], ""
    for name, value in defaults(kind, values).items():
        hint, text = hints.get(name, Any), texts.get(name, "")
        details = ranges(hint)
        if part_class(hint, value):
            nested = nested or name
        if value is MISSING:
            details.append("required")
        elif "class_path" in value if isinstance(value, dict) else value is not None or "default" not in text:
            details.append(f"default {shown(value)}")
        rows.append((f"{name} {type_text(hint)}", f"{text} ({'; '.join(details)})".strip() if details else text))
    lines = two_columns([(kind.__name__, first_sentence(inspect.getdoc(kind) or ""))], width)
    lines += [
        "",
        f"Settings, each a flag --{key}.KEY VALUE:" if rows else "  no settings",
        *two_columns(rows, width, left=26),
    ]
    if nested:
        lines += ["", "A CLASS or SETTINGS has settings of its own:", f"  --{key}.{nested}.help"]
    return lines


def chosen_class(node: Any) -> Any:
    """The class that a part of a configuration names; None if it names none."""
    if not isinstance(node, dict) or "class_path" not in node:
        return None
    return import_class(node["class_path"])


def part_class(hint: Any, value: Any) -> Any:
    """The class of a setting that has its own settings; None for numbers, text and other plain values."""
    if kind := chosen_class(value):
        return kind
    return next((one for one in (hint, *get_args(hint)) if isinstance(one, type) and is_dataclass(one)), None)


def values_of(node: Any) -> dict[str, Any] | None:
    """Values of the settings of a part; None if it is null."""
    if not isinstance(node, dict):
        return None
    values: dict[str, Any] = node.get("init_args", {}) if "class_path" in node else node
    return values


def hints_of(kind: Any) -> dict[str, Any]:
    """Annotations of the arguments of a class and of the parents to which it passes ``**kwargs``."""
    found: dict[str, Any] = {}
    for base in reversed(inspect.getmro(kind)[:-1]):
        if "__init__" not in vars(base):
            continue
        try:
            found |= get_type_hints(vars(base)["__init__"], include_extras=True)
        except NameError:  # a name that is imported for type checkers only
            found |= vars(base)["__init__"].__annotations__
    return found


def defaults(kind: Any, values: dict[str, Any] | None) -> dict[str, Any]:
    """The given values of the settings of a class, or else the defaults, in the order of the arguments."""
    if values is not None:
        return values
    if is_dataclass(kind):
        return {one.name: one.default for one in fields(kind) if one.init}
    parameters = inspect.signature(kind).parameters.values()
    return {one.name: MISSING if one.default is one.empty else one.default for one in parameters}


def descriptions(kind: Any) -> dict[str, str]:
    """First sentence about each argument in the docstrings of a class and its parents."""
    found: dict[str, str] = {}
    for base in reversed(inspect.getmro(kind)[:-1]):
        for doc in (base.__doc__, vars(base)["__init__"].__doc__ if "__init__" in vars(base) else None):
            for argument in parse_docstring(inspect.cleandoc(doc or "")).params:
                if argument.args[0] == "param":
                    text = first_sentence(argument.description or "")
                    if not (text.startswith("see `") and argument.arg_name in found):  # a parent's docstring
                        found[argument.arg_name] = text
    return found


def first_sentence(text: str) -> str:
    """The first sentence of a text, without its full stop and without ``(default: ...)``."""
    words = " ".join(text.split("\n\n")[0].replace("``", "").split())
    return re.split(r"\.(?= [A-Z`(])", re.sub(r" \(default: [^)]*\)", "", words))[0].removesuffix(".")


def type_text(hint: Any) -> str:
    """Short name of a type: ``INT``, ``{a,b}``, ``[FLOAT,...]``, ``CLASS``."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return type_text(arguments[0])
    if origin is Literal:
        return "{" + ",".join(map(str, arguments)) + "}"
    if origin in (Union, UnionType):
        return "|".join(dict.fromkeys(type_text(one) for one in arguments))
    if origin in (tuple, list) or hint in (tuple, list):
        return f"[{type_text(arguments[0])},...]" if arguments else "LIST"
    if origin is Callable or origin is type:
        return "CLASS"
    if isinstance(hint, type) and is_dataclass(hint):
        return "SETTINGS"
    return WORDS.get(origin or hint, "CLASS" if isinstance(hint, type) else "VALUE")


def ranges(hint: Any) -> list[str]:
    """Ranges that an annotation declares."""
    found = range_of(hint)
    if found:
        return [str(found[1]).removeprefix("of ")]
    return list(dict.fromkeys(text for one in get_args(hint) for text in ranges(one)))


def shown(value: Any) -> str:
    """Text of a value as on the command line; the name of a class."""
    if isinstance(value, dict) and "class_path" in value:
        return str(value["class_path"]).rpartition(".")[2]
    if callable(value) or is_dataclass(value):
        return getattr(value, "__name__", type(value).__name__)
    return value if isinstance(value, str) and value else json.dumps(value, default=str)
