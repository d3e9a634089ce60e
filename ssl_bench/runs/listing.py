"""`ssl-bench list`: everything that can be given by name."""

import ast
import shutil
import sys
from collections import Counter
from contextlib import suppress
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

import ssl_bench.evaluation
from ssl_bench.catalogue import config_names
from ssl_bench.config.tables import row_names
from ssl_bench.errors import UserError, did_you_mean
from ssl_bench.runs.columns import two_columns


def print_names(word: str | None = None) -> None:
    """Print the names of all sections, or those that match a word.

    Args:
        word: see `listing`.

    Raises:
        UserError: nothing matches the word.
    """
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print("\n".join(listing(word, width)))


def listing(word: str | None, width: int | None) -> list[str]:
    """Lines of text: sections with their names and descriptions.

    Args:
        word: name of a section, which is listed in full, or part of a name or description, in upper or lower case. None
            for all sections; a terminal then shows one-line descriptions and summaries of the longest sections.
        width: number of columns of the terminal; None for one line per name.

    Raises:
        UserError: nothing matches the word; the message gives the nearest names.
    """
    everything = sections()
    if word is None:
        chosen = everything
    elif section := next((name for name in everything if word.lower() in (name, name.removesuffix("s"))), None):
        chosen = {section: everything[section]}
    else:
        chosen = {section: matching(names, word) for section, names in everything.items()}
        if not any(chosen.values()):
            known = [*everything, *(name for names in everything.values() for name in names)]
            hint = did_you_mean(word, known)
            raise UserError(f"nothing matches {word!r}: {hint if hint.endswith('?') else 'see `ssl-bench list`'}")
    lines: list[str] = []
    for section, names in chosen.items():
        if not names:
            continue
        if word is not None or width is None:
            lines += [section, *two_columns(names.items(), width)]
        elif section in SUMMARIES:
            head, rows = SUMMARIES[section](names)
            lines += [f"{section} ({head})", *two_columns(rows, width, shorten=True)]
            lines += [f"  `ssl-bench list {section}` lists all {len(names)}, `ssl-bench list WORD` some"]
        else:
            lines += [section, *two_columns(names.items(), width, shorten=True)]
        lines += [""]
    return lines[:-1]


def sections() -> dict[str, dict[str, str]]:
    """Names with their descriptions, by section."""
    methods = config_names("method")
    for entry in entry_points(group="ssl_bench.methods"):
        by = f"installed by {entry.dist.name if entry.dist else 'another package'}"
        methods[entry.name] = f"{class_summary(entry) or entry.value} ({by})"
    return {
        "methods": methods,
        "encoders": config_names("encoder"),
        "data": config_names("data"),
        "protocols": {name: first_line(name) for name in ssl_bench.evaluation.PROTOCOLS},
        "views": config_names("views"),
        "experiments": config_names("experiment"),
        "tables": config_names("table") | row_names(),
    }


def first_line(protocol: str) -> str:
    """The first line of the docstring of a protocol's module, read without importing it."""
    file = Path(ssl_bench.evaluation.__file__).parent / "protocols" / f"{protocol}.py"
    return (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").split("\n")[0]


def class_summary(entry: EntryPoint) -> str:
    """The first line of the docstring of a class, read without importing its package; empty if it is not found."""
    package, *parts = entry.module.split(".")
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return ""
    module = Path(spec.origin).parent.joinpath(*parts)
    files = [module / "__init__.py", module.with_suffix(".py")] if parts else [Path(spec.origin)]
    for file in filter(Path.is_file, files):
        with suppress(SyntaxError, ValueError):
            for node in ast.parse(file.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef) and node.name == entry.attr:
                    return (ast.get_docstring(node) or "").split("\n")[0]
    return ""


def matching(names: dict[str, str], word: str) -> dict[str, str]:
    """Entries whose name or description contains a word, in upper or lower case."""
    return {name: text for name, text in names.items() if word.lower() in f"{name} {text}".lower()}


def by_table(names: dict[str, str]) -> tuple[str, list[tuple[str, str]]]:
    """Heading and lines of the section of tables; small profiles are named with their table."""
    heading = "`ssl-bench table NAME` prints one, --experiment TABLE/ROW runs a row"
    tables = {name: text for name, text in names.items() if "/" not in name}
    rows = []
    for name, text in tables.items():
        scales = [other.removeprefix(f"{name}-") for other in tables if other.startswith(f"{name}-")]
        if name.rpartition("-")[0] not in tables:
            rows.append((f"{name} (--scale {', '.join(scales)})" if scales else name, text))
    return heading, rows


def by_method(experiments: dict[str, str]) -> tuple[str, list[tuple[str, str]]]:
    """Heading and lines of methods with their data sets; several experiments on a data set are counted."""
    counts = Counter(tuple(name.split("-")[:2]) for name in experiments)
    data = {method: [(d, n) for (m, d), n in counts.items() if m == method] for method, _ in counts}
    lines = [(method, ", ".join(f"{d} ({n})" if n > 1 else d for d, n in found)) for method, found in data.items()]
    return "data sets of each method, with the number of experiments", lines


def by_recipe(recipes: dict[str, str]) -> tuple[str, list[tuple[str, str]]]:
    """Heading and lines of the recipes without their variants, whose names begin with the name of the recipe."""
    heading = "recipes without their variants, such as simclr_weak_blur"
    return heading, [
        (name, text) for name, text in recipes.items() if not any(name.startswith(f"{other}_") for other in recipes)
    ]


SUMMARIES = {"views": by_recipe, "experiments": by_method, "tables": by_table}
"""Functions that shorten a section of which a terminal would show more than a screen."""
