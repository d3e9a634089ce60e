"""The runs of `ssl-bench sweep`: their folders, and how long they take."""

import glob
import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ssl_bench.config.chosen_classes import check_classes
from ssl_bench.config.identity import run_folder
from ssl_bench.config.yaml_file import read_settings
from ssl_bench.errors import UserError
from ssl_bench.precision import AUTO
from ssl_bench.results.record import Record
from ssl_bench.runs.arguments import files_and_flags
from ssl_bench.runs.checks import check_chosen
from ssl_bench.runs.sweep_choices import Choice


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


def resolved(arguments: Sequence[str], precision: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The resolved configuration of a run, and a flag with its precision if it is carried out on another machine.

    The name of a run folder depends on the precision, so it is decided here and not where the run is carried out.

    Args:
        arguments: files and flags.
        precision: what ``auto`` is there; empty if the run is carried out on this machine.

    Raises:
        UserError: a setting is not valid.
    """
    from ssl_bench.config.resolve import resolve, to_dict

    config = resolve(list(arguments), on_this_machine=not precision)
    if config.trainer.precision != AUTO:
        return to_dict(config), ()
    config.trainer.precision = precision
    return to_dict(config), (f"--trainer.precision={precision}",)


def plan(
    choices: Iterable[Choice],
    settings: Sequence[tuple[str, ...]],
    seeds: Sequence[str] | None,
    out: Path,
    precision: str = "",
) -> list[PlannedRun]:
    """Resolve all runs, so that a wrong value is found before anything runs.

    Args:
        choices: methods and data sets.
        settings: combinations of further flags, see `combinations`.
        seeds: seeds; None for the numbers from 0 of `Choice.seeds`.
        out: folder of the run folders.
        precision: see `resolved`.

    Raises:
        UserError: a setting is not valid, or two runs are the same.
    """
    runs: dict[Path, PlannedRun] = {}
    common = set(settings[0]).intersection(*settings)
    files = {file: read_settings(file) for file in files_and_flags(list(settings[0]))[0]}
    for choice, flags in itertools.product(choices, settings):
        arguments = [*choice.stacked, *flags]
        check_classes(list(choice.stacked), files)
        check_chosen(arguments, out)
        config, added = resolved(arguments, precision)
        for seed in seeds or map(str, range(choice.seeds)):
            folder = run_folder(config | {"seed": int(seed)}, out)
            changed = " ".join(flag.removeprefix("--") for flag in flags if flag not in common)
            label = ", ".join(filter(None, [choice.label, changed, f"seed {seed}"]))
            if folder in runs:
                raise UserError(f"{label} is the same run as {runs[folder].label}: leave one of them out")
            runs[folder] = PlannedRun(
                label,
                (*choice.arguments, *flags, *added, f"--seed={seed}"),
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
    proportional to the number of epochs; the time of scoring is not. Untrained runs are not used for trained ones.
    """
    known: dict[tuple[Path, str], list[Record]] = {}
    for run in runs:
        name = run.folder.name.rpartition("-s")[0]
        if (run.folder.parent, name) not in known:
            known[run.folder.parent, name] = list(recorded(run.folder.parent, name))
        times = []
        for record in known[run.folder.parent, name]:
            fit = record.seconds.get("fit", 0.0)
            scoring = sum(record.seconds.values()) - fit
            if record.epochs:
                times.append(fit * run.epochs / record.epochs + scoring)
            elif not run.epochs:
                times.append(scoring)
        yield median(times) / 3600 if times else None


def recorded(out: Path, name: str) -> Iterator[Record]:
    """Records of the runs of all seeds whose folders have this name up to the seed; damaged ones are left out."""
    for file in out.glob(f"{glob.escape(name)}-s*/metrics.json"):
        if file.parent.name.rpartition("-s")[0] == name:
            with suppress(UserError, FileNotFoundError):
                yield Record.read(file.parent)
