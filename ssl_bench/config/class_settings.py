"""Checks of the settings of the chosen classes before these are imported, which takes seconds.

Only what the parser of the configuration, or the class, would certainly refuse is refused, with the same message.
"""

import ast
import re
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ssl_bench import ranges
from ssl_bench.config.class_parameters import parameters
from ssl_bench.config.yaml_file import read_settings
from ssl_bench.data.locate import data_root
from ssl_bench.errors import UserError, did_you_mean
from ssl_bench.ranges import problem, range_of

FIXED = {
    "views": "ssl_bench.data.views.Views",
    "evaluation": "ssl_bench.evaluation.suite.Evaluation",
    "curve": "ssl_bench.config.schema.Curve",
    "validation": "ssl_bench.config.schema.Validation",
}
"""Parts of a configuration with a fixed class."""
PARTS = ("data", "method", *FIXED)
RANGES = {name: hint for name, hint in vars(ranges).items() if range_of(hint)}
"""Annotations that declare a range, by their names."""
NUMBER = re.compile(r"[-+]?\d{1,15}(\.\d{0,15})?([eE][-+]?\d{1,2})?")
WORDS = {"false", "inf", "infinity", "n", "nan", "no", "none", "null", "off", "on", "true", "y", "yes"}
"""Words that may be values of other types than text."""
OWN_FOLDERS = {"ImageFolder": "image_folder", "Parquet": "parquet"}
"""Data sets in a folder of the user, with their names."""


@dataclass
class Given:
    """What a stack of files and flags gives; later settings replace earlier ones.

    Attributes:
        classes: import paths of the chosen classes by their keys, such as ``method.encoder``.
        values: values by their names, of each key, each with the beginning of a message about it: the file, or nothing
            for a flag.
    """

    classes: dict[str, str] = field(default_factory=lambda: dict(FIXED))
    values: dict[str, dict[str, tuple[Any, str]]] = field(default_factory=dict)

    def choose(self, key: str, path: str) -> None:
        """Set the class of a key; the settings of another class are no longer given."""
        if self.classes.get(key) != path:
            self.forget(key)
            self.classes[key] = path

    def forget(self, key: str) -> None:
        """Remove what is given under a key."""
        below = f"{key}."
        self.classes = {name: path for name, path in self.classes.items() if not f"{name}.".startswith(below)}
        self.values = {name: values for name, values in self.values.items() if not f"{name}.".startswith(below)}

    def give(self, key: str, value: Any, place: str) -> None:
        """Add the value of a key in a file."""
        if isinstance(value, str):
            self.choose(key, value)
        elif not isinstance(value, dict):
            self.forget(key)
        else:
            if isinstance(path := value.get("class_path"), str):
                self.choose(key, path)
            arguments = value if key in FIXED else value.get("init_args")
            for name, inner in arguments.items() if isinstance(arguments, dict) else ():
                self.set(key, name, inner, place)

    def set(self, key: str, name: str, value: Any, place: str) -> None:
        """Set one argument of the class of a key."""
        self.values.setdefault(key, {})[name] = (value, place)
        self.give(f"{key}.{name}", value, place)


def check_class_settings(arguments: list[str]) -> Given:
    """Check the names, ranges and options of the arguments of the classes of this package that files and flags choose.

    Args:
        arguments: files and flags, in the order in which they are stacked.

    Returns:
        What they give.

    Raises:
        UserError: a class has no such parameter, a number is outside its range, or a text is not one of the options.
    """
    given = read(arguments)
    for key, values in given.values.items():
        path = given.classes.get(key, "")
        if (known := parameters(path)) is None:
            continue
        for name, (value, place) in values.items():
            if name not in known:
                raise UserError(f"{place}no key '{key}.{name}': {did_you_mean(name, known)}")
            if wrong := wrong_number(value, known[name], f"{key}.{name}", f"{label(path)}: {name}"):
                raise UserError(f"{place}{wrong}")
            if wrong := wrong_option(value, known[name], f"{key}.{name}"):
                raise UserError(f"{place}{wrong}")
            if known[name].startswith("OptimizerFactory") and (wrong := wrong_optimizer(value, f"{key}.{name}")):
                raise UserError(f"{place}{wrong}")
    return given


def read(arguments: list[str]) -> Given:
    """What files and flags give for `PARTS`."""
    given = Given()
    for argument, after in zip(arguments, [*arguments[1:], ""], strict=False):
        flag, equals, text = argument.partition("=")
        value = text if equals else after
        key, _, name = flag.removeprefix("--").replace(".init_args.", ".").rpartition(".")
        if flag == "--config":
            for part, content in read_settings(Path(value)).items():
                if part in PARTS:
                    given.give(part, content, f"{value}: ")
        elif not flag.startswith("--") or (key or name).partition(".")[0] not in PARTS or name.endswith("+"):
            continue
        elif not key:
            given.give(name, value, "")
        elif name == "class_path":
            given.choose(key, value)
        elif name in ("init_args", "dict_kwargs", "help"):
            given.forget(key)
        else:
            given.set(key, name, value, "")
    return given


def wrong_number(value: Any, annotation: str, key: str, begin: str) -> str:
    """Message about a value that is no number, or a number outside its range; empty if there is none or in doubt.

    Args:
        value: the value in a file, or the text of a flag.
        annotation: annotation of the parameter.
        key: key of the setting, for the message about a word.
        begin: begin of the message about a number.
    """
    names = set(annotation.split(" | ")) - {"None"}
    if len(names) != 1 or not names <= RANGES.keys() or isinstance(value, bool):
        return ""
    hint = RANGES[names.pop()]
    kind = range_of(hint)[0]  # type: ignore[index]
    if isinstance(value, str):
        if value.isalpha() and value.lower() not in WORDS:
            return f"{key} got {value!r}, expected {kind.__name__}"
        if not NUMBER.fullmatch(value):
            return ""
        value = int(value) if value.lstrip("+-").isdecimal() else float(value)
    if not isinstance(value, int if kind is int else int | float) or abs(value) > 1e300:
        return ""
    expected = problem(kind(value), hint)
    return f"{begin} must be {expected}, got {kind(value)!r}" if expected else ""


def wrong_option(value: Any, annotation: str, key: str) -> str:
    """Message about a text that is none of the options of a parameter; empty if it is one, or in doubt."""
    options = re.fullmatch(r"Literal\[([^\[\]]+)\]", annotation)
    if not options or not isinstance(value, str) or value.lower() in WORDS:
        return ""
    known = ast.literal_eval(f"[{options[1]}]")
    return "" if value in known else f"{key} got {value!r}, expected {' or '.join(known)}"


def wrong_optimizer(value: Any, key: str) -> str:
    """Message about the name of an optimizer of torch in lower case, which is no class; empty for all other values."""
    if not isinstance(value, str) or not value.islower() or Path(value).exists():
        return ""
    names = optimizers()
    if value not in map(str.lower, names):
        return ""
    wrong = f"{key} got {value!r}: no class or value of that kind; give a class by its import path"
    return f"{wrong}; {did_you_mean(value, names)}"


def optimizers() -> list[str]:
    """Names of the optimizers of torch, which is not imported."""
    torch = find_spec("torch")
    if torch is None or torch.origin is None:
        return []
    tree = ast.parse(Path(torch.origin).with_name("optim").joinpath("__init__.py").read_text(encoding="utf-8"))
    imports = [statement for statement in tree.body if isinstance(statement, ast.ImportFrom)]
    return [alias.name for statement in imports for alias in statement.names if alias.name[0].isupper()]


def label(path: str) -> str:
    """Name of a class in messages, see `ssl_bench.ranges.label`."""
    package, module, name = path.rsplit(".", 2)
    return module if package == "ssl_bench.methods" else name


def check_root(given: Given, out: Path) -> None:
    """Check that the folder of a user's data exists if a flag or file gives it.

    A run of these data that is already recorded is printed without them.

    Args:
        given: what files and flags give.
        out: folder of the run folders.

    Raises:
        UserError: there is no such folder.
    """
    name = OWN_FOLDERS.get(given.classes.get("data", "").rpartition(".")[2])
    root, place = given.values.get("data", {}).get("root", (None, ""))
    if not name or not isinstance(root, str) or root.lower() in ("", "~", "null", "none"):
        return
    path = data_root(root)
    source = Path(place.removesuffix(": ")).resolve() if place else None
    if path.exists() or any(
        file.resolve() == source or str(path.absolute()) in read_text(file) for file in out.glob("*/config.yaml")
    ):
        return
    content = "class folders" if name == "image_folder" else "parquet files"
    raise UserError(f"{place}{name}: {path} does not exist; set --data.root to a folder of {content}")


def read_text(file: Path) -> str:
    """Text of a file; empty if it cannot be read."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
