"""The runs of `ssl-bench sweep`: combinations of methods, data sets, settings and seeds, or the rows of a table."""

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ssl_bench.config.chosen_classes import check_classes
from ssl_bench.config.identity import run_folder
from ssl_bench.config.known_settings import check_flags, check_seed, check_settings
from ssl_bench.config.stack import stack
from ssl_bench.config.tables import read_table
from ssl_bench.config.yaml_file import read_settings
from ssl_bench.errors import UserError
from ssl_bench.results.record import Record
from ssl_bench.runs.arguments import files_and_flags
from ssl_bench.runs.checks import check_chosen
from ssl_bench.runs.paper_tables import preparation, select


@dataclass(frozen=True)
class PlannedRun:
    """A run of a sweep, or a step that runs need.

    Attributes:
        label: what is run, in messages.
        arguments: arguments of `ssl-bench COMMAND`; without ``--out`` if it trains.
        folder: the run folder, or the folder of generated views.
        epochs: number of epochs.
        before: command that makes what the run reads, such as generated views; empty if it reads nothing of that kind.
        ready: whether what it reads exists, or is made by `needs`.
        data: name of the data set of a table's row.
        command: ``bench``, ``fit`` or ``views``.
        needs: folders of the steps that must be done before.
        table: name of the paper's table, a tag of the run in wandb.
    """

    label: str
    arguments: tuple[str, ...]
    folder: Path
    epochs: int
    before: str = ""
    ready: bool = True
    data: str = ""
    command: str = "bench"
    needs: tuple[Path, ...] = ()
    table: str = ""

    @property
    def done(self) -> bool:
        """Whether the run is recorded. Steps never are: their commands repeat nothing, and find that a folder fits."""
        return self.command == "bench" and (self.folder / "metrics.json").is_file()


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


def plan(
    choices: Iterable[Choice], settings: Sequence[tuple[str, ...]], seeds: Sequence[str] | None, out: Path
) -> list[PlannedRun]:
    """Resolve all runs, so that a wrong value is found before anything runs.

    Args:
        choices: methods and data sets.
        settings: combinations of further flags, see `combinations`.
        seeds: seeds; None for the numbers from 0 of `Choice.seeds`.
        out: folder of the run folders.

    Raises:
        UserError: a setting is not valid, or two runs are the same.
    """
    from ssl_bench.config.resolve import resolve, to_dict

    runs: dict[Path, PlannedRun] = {}
    common = set(settings[0]).intersection(*settings)
    files = {file: read_settings(file) for file in files_and_flags(list(settings[0]))[0]}
    for choice, flags in itertools.product(choices, settings):
        arguments = [*choice.stacked, *flags]
        check_classes(list(choice.stacked), files)
        check_chosen(arguments, out)
        config: dict[str, Any] = to_dict(resolve(arguments))
        for seed in seeds or map(str, range(choice.seeds)):
            folder = run_folder(config | {"seed": int(seed)}, out)
            changed = " ".join(flag.removeprefix("--") for flag in flags if flag not in common)
            label = ", ".join(filter(None, [choice.label, changed, f"seed {seed}"]))
            if folder in runs:
                raise UserError(f"{label} is the same run as {runs[folder].label}: leave one of them out")
            runs[folder] = PlannedRun(
                label,
                (*choice.arguments, *flags, f"--seed={seed}"),
                folder,
                config["trainer"]["max_epochs"],
                next(iter(choice.before), ""),
                not choice.before or has_generated_views(config),
                choice.data,
            )
    return list(runs.values())


def has_generated_views(config: dict[str, Any]) -> bool:
    """Whether the folder of generated views or images that a configuration names is complete; True if it names none."""
    sources = [config["views"].get("generated") or {}]
    sources += [config["data"]] if "real" in config["data"].get("init_args", {}) else []
    arguments = [source.get("init_args", {}) for source in sources]
    folders = [given[key] for given in arguments for key in ("folder", "codes", "root") if given.get(key)]
    return all(is_complete(Path(folder)) for folder in folders)


def is_complete(folder: Path) -> bool:
    """Whether a folder exists and, if it is one of generated views, has all its rows."""
    from ssl_bench.data.shards import Shards

    return not Shards(folder).missing() if (folder / "index.json").is_file() else folder.exists()


def hours(runs: Iterable[PlannedRun]) -> Iterator[float | None]:
    """Hours that each run takes, estimated from the recorded runs beside it; None without one of its method and data.

    Runs of the same method and data are those whose folders have the same name up to the seed. The time of training is
    proportional to the number of epochs; the time of scoring is not.
    """
    known: dict[tuple[Path, str], list[Record]] = {}
    for run in runs:
        name = run.folder.name.rpartition("-s")[0]
        if (run.folder.parent, name) not in known:
            beside = run.folder.parent.glob(f"{name}-s*/metrics.json")
            known[run.folder.parent, name] = [Record.read(file.parent) for file in beside]
        times = []
        for record in known[run.folder.parent, name]:
            fit = record.seconds.get("fit", 0.0)
            scoring = sum(record.seconds.values()) - fit
            times.append(fit * run.epochs / record.epochs + scoring if record.epochs else scoring)
        yield median(times) / 3600 if times else None
