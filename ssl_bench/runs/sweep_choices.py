"""What `ssl-bench sweep` combines: methods and data sets or the rows of a table, settings, and seeds."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ssl_bench.config.known_settings import check_flags, check_seed, check_settings
from ssl_bench.config.stack import stack
from ssl_bench.config.tables import read_table
from ssl_bench.config.yaml_file import read_settings
from ssl_bench.errors import UserError
from ssl_bench.runs.arguments import files_and_flags
from ssl_bench.runs.paper_tables import preparation, select


@dataclass(frozen=True)
class Choice:
    """A choice of method and data.

    Attributes:
        label: name in messages.
        arguments: ``--experiment NAME``, or ``--method NAME --data NAME``.
        stacked: arguments that stack its files.
        seeds: number of seeds if none are given.
        before: commands that make what the run reads.
        data: name of the data set of a table's row.
    """

    label: str
    arguments: tuple[str, ...]
    stacked: tuple[str, ...]
    seeds: int = 1
    before: tuple[str, ...] = ()
    data: str = ""


def listed(flag: str, text: str) -> list[str]:
    """The values of a list that is separated by commas.

    Raises:
        UserError: a value is empty or occurs twice.
    """
    values = [value.strip() for value in text.split(",")]
    if "" in values:
        raise UserError(f"{flag} got {text!r}, in which a value is empty: give values separated by single commas")
    if twice := next((value for value in values if values.count(value) > 1), ""):
        raise UserError(f"{flag} got {text!r} with {twice} twice: give each value once")
    return values


def seeds_of(text: str) -> list[str]:
    """The seeds of ``--seeds``.

    Raises:
        UserError: one is not a valid seed, see `check_seed`.
    """
    seeds = listed("--seeds", text)
    for seed in seeds:
        check_seed(seed, "--seeds")
    return seeds


def combinations(flags: Sequence[str]) -> list[tuple[str, ...]]:
    """All combinations of the values of flags; a value with commas outside brackets and quotes is a list of values.

    Files of ``--config`` come first, so that flags replace their settings.

    Args:
        flags: ``--KEY=VALUE`` or ``--KEY VALUE``.

    Raises:
        UserError: there is no such key, a value of a list is empty, or a file cannot be used.
    """
    files, flags = files_and_flags(list(flags))
    for file in files:
        check_settings(read_settings(file), file)
    lists: list[list[str]] = [[f"--config={file}"] for file in files]
    rest = iter(flags)
    for flag in rest:
        name, equals, value = flag.partition("=")
        if not name.startswith("--"):
            raise UserError(f"got {name!r}, expected a flag --KEY VALUE")
        value = value if equals else next(rest, "")
        values = [value] if re.search(r"[\[{\"']", value) else listed(name, value)
        lists.append([f"{name}={one}" for one in values])
    check_flags([flag for values in lists[len(files) :] for flag in values])
    return list(itertools.product(*lists))


def choices_of_lists(methods: Sequence[str], data: Sequence[str], experiments: Sequence[str]) -> list[Choice]:
    """All experiments, and all combinations of methods and data sets.

    Raises:
        UserError: there are none, or a name does not exist.
    """
    if bool(methods) != bool(data):
        raise UserError("nothing to run: give both --method and --data, or --experiment, or --table")
    found = [Choice(name, ("--experiment", name), tuple(stack(None, None, name))) for name in experiments]
    for method, one in itertools.product(methods, data):
        given = ("--method", method, "--data", one)
        found.append(Choice(f"{method} on {one}", given, tuple(stack(method, one, None))))
    if not found:
        raise UserError("nothing to run: give --method and --data, or --experiment, or --table")
    return found


def choices_of_table(name: str, rows: Sequence[str], data: Sequence[str]) -> list[Choice]:
    """The rows of a paper's table that this package can train, on its data sets; an experiment occurs once.

    Args:
        name: name of the table.
        rows: keys of rows; empty for all.
        data: names of data sets; empty for all.

    Raises:
        UserError: there is no such table, row or data set, or no row can be trained.
    """
    found: dict[str, Choice] = {}
    for table in select([read_table(name)], rows, data, ()):
        for row in table.rows.values():
            for key, entry in row.entries.items():
                if entry.experiment is None or key not in table.data:
                    continue
                found[entry.name] = Choice(
                    f"{row.label} on {table.data[key].label}",
                    ("--experiment", entry.name),
                    tuple(stack(None, None, entry.name)),
                    table.data[key].seeds or 1,
                    tuple(preparation(entry)),
                    key,
                )
    if not found:
        raise UserError(f"no row of {name} can be trained: give other --rows or --data, see `ssl-bench table {name}`")
    return list(found.values())
