"""The commands that make what runs of a table read: a generator, its inversion, codes and generated views."""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ssl_bench.catalogue import config_names
from ssl_bench.config.identity import run_folder
from ssl_bench.config.stack import stack
from ssl_bench.config.tables import STEPS
from ssl_bench.data.shards import Shards
from ssl_bench.errors import UserError
from ssl_bench.runs.sweep_plan import PlannedRun, resolved

NAME = re.compile("|".join(STEPS))
ORIGINS = {
    "codes": ("CODES",),
    "generator": ("INVERSION_RUN", "STYLEGAN2_RUN"),
    "encoder": ("SIMCLR_RUN", "SIMSIAM_RUN"),
}
"""Notes of a folder of views or codes that say what it was made from, with the names of steps that this can be."""


class Steps:
    """Commands that make what planned runs read, each once.

    Args:
        runs: the planned runs. A run that is also a step is not trained twice.
        commands: commands that replace those of `config.tables.STEPS`.
        flags: settings of the runs; those of data and trainer are settings of the trained steps, too.
        out: folder of the run folders.
        precision: see `sweep_plan.resolved`.
    """

    def __init__(
        self,
        runs: Iterable[PlannedRun],
        commands: Mapping[str, str],
        flags: Sequence[str],
        out: Path,
        precision: str = "",
    ):
        self.runs = {run.folder: run for run in runs}
        self.commands, self.out, self.precision = STEPS | dict(commands), out, precision
        self.has_files = any(flag.startswith("--config=") for flag in flags)
        self.flags = [flag for flag in flags if flag.startswith(("--data.", "--trainer."))]
        self.steps: dict[Path, PlannedRun] = {}

    def plan(self) -> list[PlannedRun]:
        """The steps, each after those that it needs, and the runs, which need them.

        Raises:
            UserError: views that exist were made from other runs than those of the plan, or runs that need steps have a
                file of settings.
        """
        runs = []
        for run in self.runs.values():
            if run.before and not run.done:
                known = dict(self.steps)
                step = self.add(run.before, run.data)
                if run.ready:
                    self.steps = known
                elif step and self.has_files:
                    raise UserError(
                        f"--config: its settings would not be those of the steps of {run.label}: give flags, of which "
                        "--data.KEY and --trainer.KEY are those of the steps, too"
                    )
                elif step:
                    run = replace(run, ready=True, needs=(step,))
            runs.append(run)
        return [*self.steps.values(), *runs]

    def add(self, command: str, data: str) -> Path | None:
        """Plan a command and those that it needs.

        Args:
            command: `ssl-bench fit`, or `ssl-bench views` with --out.
            data: name of the data set.

        Returns:
            The folder that the command makes, or None if one of its experiments does not exist.
        """
        needs: dict[str, Path] = {}
        for name in NAME.findall(command):
            if (folder := self.add(self.commands[name], data)) is None:
                return None
            needs[name] = folder
        _, kind, *words = (
            NAME.sub(lambda found: str(needs[found[0]]), word) for word in shlex.split(command.replace("{data}", data))
        )
        if kind == "fit":
            step = self.training(words[words.index("--experiment") + 1], words)
        else:
            folder = Path(words[words.index("--out") + 1])
            check_origin(folder, needs)
            step = PlannedRun(f"views {words[0]}, {folder}", tuple(words), folder, 0, command=kind)
        if step is None:
            return None
        if step.folder not in self.runs:
            self.steps.setdefault(step.folder, replace(step, needs=tuple(needs.values())))
        return step.folder

    def training(self, experiment: str, words: Sequence[str]) -> PlannedRun | None:
        """A run that is trained and not scored; None if there is no such experiment."""
        if experiment not in config_names("experiment"):
            return None
        arguments = (*words, *self.flags)
        settings = [word for word in arguments if "=" in word]
        config, added = resolved([*stack(None, None, experiment), *settings], self.precision)
        folder, epochs = run_folder(config, self.out), config["trainer"]["max_epochs"]
        return PlannedRun(f"fit {experiment}", (*arguments, *added), folder, epochs, command="fit")


def check_origin(folder: Path, needs: Mapping[str, Path]) -> None:
    """Check that a folder of views or codes, if it exists, was made from the runs and folders of the plan.

    Args:
        folder: the folder.
        needs: planned folders by their names in `config.tables.STEPS`.

    Raises:
        UserError: it was made from another folder.
    """
    if not (folder / "index.json").is_file():
        return
    notes = Shards(folder).notes
    for note, names in ORIGINS.items():
        planned = next((needs[name] for name in names if name in needs), None)
        if planned and note in notes and Path(notes[note]) != planned.resolve():
            raise UserError(
                f"{folder} was made from {notes[note]}, and the plan has {planned}: delete {folder}, or give the "
                "settings with which it was made"
            )
