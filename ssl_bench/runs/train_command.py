"""`ssl-bench bench` and `ssl-bench fit`: their arguments are checked before torch is imported."""

import argparse
import re
from pathlib import Path

from ssl_bench.config.chosen_classes import check_classes
from ssl_bench.config.devices import given_devices
from ssl_bench.config.known_settings import check_flags, check_settings
from ssl_bench.config.stack import choose, stack
from ssl_bench.config.yaml_file import read_settings
from ssl_bench.errors import UserError
from ssl_bench.runs.arguments import files_and_flags, output_folder
from ssl_bench.runs.checks import check_chosen, check_epochs
from ssl_bench.runs.launcher import with_launched


def requested_help(flags: list[str]) -> tuple[str, list[str]]:
    """Key of a flag ``--KEY.help``, empty if there is no such flag, and the other flags.

    The flag may be followed by the class to describe: ``--method.encoder.help PACKAGE.MODULE.CLASS``.
    """
    for place, flag in enumerate(flags):
        if found := re.fullmatch(r"--([\w.]+)\.help(?:=(.+))?", flag):
            others, chosen = flags[:place] + flags[place + 1 :], found[2]
            if chosen is None and others[place:] and not others[place].startswith("--"):
                chosen = others.pop(place)
            return found[1], others + ([f"--{found[1]}={chosen}"] if chosen else [])
    return "", flags


def train(options: argparse.Namespace, rest: list[str], fit_only: bool) -> Path | None:
    """Carry out `ssl-bench bench` or `ssl-bench fit` and return the run folder, or print help or a dry run."""
    key, rest = requested_help(rest)
    files, flags = files_and_flags(rest)
    if options.help:
        options.print_help()
        if not (options.method or options.experiment or files):
            return None
        print("\narguments of the method:")
        key = "method"
    if key and not (files or options.experiment or (options.method and options.data)):
        chosen = any_configuration(options.method, options.data)
    else:
        chosen = stack(options.method, options.data, options.experiment)
    if not chosen and not files:
        raise UserError("nothing to run: give --method and --data (see `ssl-bench list`), or --config FILE")
    given = vars(options)
    check_epochs(given["trainer.max_epochs"])
    given_devices("--devices", given["trainer.devices"] or "auto")
    named = ("seed", "trainer.max_epochs", "trainer.devices")
    flags += [f"--{name}={given[name]}" for name in named if given[name] is not None]
    out = output_folder(options.out, files)
    arguments = with_launched(stacked(chosen, files, flags, None if key else out))
    if key:
        print_help(key, arguments)
        return None
    if options.dry_run:
        from ssl_bench.runs.dry_run import dry_run

        dry_run(arguments, out)
        return None
    from ssl_bench.runs.train import bench

    return bench(arguments, out, fit_only=fit_only, wait=options.wait)


def stacked(chosen: list[str], files: list[Path], flags: list[str], out: Path | None) -> list[str]:
    """Check files and flags, and stack them on what is chosen by name: flags replace the settings of all files.

    Args:
        chosen: arguments that choose a method and data.
        files: files of ``--config``.
        flags: settings on the command line.
        out: folder of the run folders; None if only help is printed.

    Raises:
        UserError: a file cannot be read or chooses another method or data set, or a setting is not valid.
    """
    settings = {file: read_settings(file) for file in files}
    for file, content in settings.items():
        check_settings(content, file)
    check_classes(chosen, settings)
    check_flags(flags)
    arguments = [*chosen, *(word for file in files for word in ("--config", str(file))), *flags]
    check_chosen(arguments, out)
    return arguments


def any_configuration(method: str | None = None, data: str | None = None) -> list[str]:
    """Arguments of a configuration for help on its settings; a missing method or data set is replaced by a default."""
    return [*choose("data", data or "digits"), *choose("method", method or "ssl_bench.methods.frozen.Pixels")]


def print_help(key: str, arguments: list[str]) -> None:
    """Print the settings under a key of a configuration."""
    from ssl_bench.runs.settings_help import print_settings

    print_settings(key, arguments)
