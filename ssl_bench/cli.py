"""The `ssl-bench` command.

Importing torch and Lightning takes seconds. Each command therefore imports modules only after its arguments have been
checked, so that `--help`, `list`, `table` and most usage errors take no noticeable time.
"""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    del sys.path[0]  # `python -m` puts the working directory first, where a file yaml.py would be run

import argparse
import os
import re
from pathlib import Path

from ssl_bench import trust
from ssl_bench.catalogue import config_names
from ssl_bench.config.chosen_classes import check_classes
from ssl_bench.config.devices import given_devices
from ssl_bench.config.known_settings import check_flags, check_settings
from ssl_bench.config.names import as_name, check_name
from ssl_bench.config.stack import choose, stack
from ssl_bench.config.yaml_file import read_settings
from ssl_bench.errors import RunError, UserError, did_you_mean
from ssl_bench.files import FULL_DISK
from ssl_bench.runs.arguments import command_line, files_and_flags, output_folder
from ssl_bench.runs.checks import (
    FEATURE_SUFFIXES,
    check_chosen,
    check_devices,
    check_epochs,
    check_evaluation_flags,
    check_feature_file,
    check_run_folder,
)
from ssl_bench.runs.launcher import check_ranks, with_launched
from ssl_bench.runs.watch import watched
from ssl_bench.termination import Terminated, report, sigterm


def run(options: argparse.Namespace, rest: list[str]) -> int:
    """Carry out one command."""
    trust.start(getattr(options, "trust", ()))
    match options.command:
        case "list":
            from ssl_bench.runs.listing import print_names

            print_names(options.word)
        case "table":
            from ssl_bench.runs.tables import print_tables

            print_tables(options.names, options.format, options.metrics, options.rows, options.data, options.sort)
        case "evaluate":
            evaluate(options, rest)
        case "sweep":
            from ssl_bench.runs.sweep import sweep

            sweep(options, rest)
        case "views":
            from ssl_bench.runs.views import views

            views(rest)
        case command:
            train(options, rest, fit_only=command == "fit")
    return 0


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


def train(options: argparse.Namespace, rest: list[str], fit_only: bool) -> None:
    """Carry out `ssl-bench bench` or `ssl-bench fit`, or print help on the command or the settings."""
    key, rest = requested_help(rest)
    files, flags = files_and_flags(rest)
    if options.help:
        options.print_help()
        if not (options.method or options.experiment or files):
            return
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
    else:
        from ssl_bench.runs.train import bench

        bench(arguments, out, fit_only=fit_only, wait=options.wait)


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


def evaluate(options: argparse.Namespace, rest: list[str]) -> None:
    """Carry out `ssl-bench evaluate`, or print help on the settings."""
    key, rest = requested_help(rest)
    if options.encoder is None:
        if not key:
            raise UserError("nothing to score: give a run folder, an encoder, timm/NAME or a file of features")
        return print_help(key, [*any_configuration(data=options.data), *rest])
    check_devices(options.devices)
    path = Path(options.encoder)
    if options.encoder.partition("/")[0] in config_names("encoder") and not path.exists():
        files, flags = files_and_flags(rest)
        chosen, named = encoder_arguments(options)
        seed = [f"--seed={options.seed}"] if options.seed is not None else []
        out = output_folder(options.out, files)
        arguments = stacked(chosen, files, [*named, *flags, *seed], None if key else out)
        if key:
            return print_help(key, arguments)

        from ssl_bench.runs.evaluate import evaluate_encoder

        return evaluate_encoder(arguments, out, options.devices, options.wait)
    check_scored_flags(options, path)
    if path.suffix in FEATURE_SUFFIXES:
        check_feature_file(path)
        check_evaluation_flags("FILE", rest)
        if key:
            return print_help(key, [*any_configuration(), *rest])

        from ssl_bench.runs.evaluate import evaluate_file

        out = options.out or Path("runs")
        return evaluate_file(path, options.labels, options.data, out, options.devices, rest, options.wait)
    check_run_folder(path)
    check_evaluation_flags("RUN", rest)
    if key:
        return print_help(key, ["--config", str(path / "config.yaml"), *rest])

    from ssl_bench.runs.evaluate import evaluate_run

    return evaluate_run(path, options.devices, rest, options.wait)


def encoder_arguments(options: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Arguments that choose an encoder given by name and its data, and flags with its settings."""
    encoder, _, model = options.encoder.partition("/")
    if options.labels:
        raise UserError(f"--labels does not go with {encoder}: it is for features in a .npy file")
    if not options.data:
        raise UserError(f"--data is missing: give one of {', '.join(config_names('data'))}")
    if (encoder == "timm") != bool(model):
        raise UserError(f"no encoder named {options.encoder!r}: give timm/NAME with one of timm's names, or pixels")
    settings = {"names.method": as_name(options.encoder.replace("/", "-")), "method.model": model}
    flags = [f"--{key}={value}" for key, value in settings.items() if value]
    return [*choose("data", options.data), *choose("encoder", encoder)], flags


def check_scored_flags(options: argparse.Namespace, path: Path) -> None:
    """Check the flags that are given with a run folder or a file of features.

    Raises:
        UserError: a flag cannot be used with the folder or file, or the path does not exist and looks like the name of
            an encoder.
    """
    encoders, is_file = config_names("encoder"), path.suffix in FEATURE_SUFFIXES
    if options.data and not path.exists() and not is_file:
        name = options.encoder.partition("/")[0]
        hint = "" if "/" in options.encoder else f"; timm's models are timm/NAME, such as timm/{name}"
        raise UserError(f"no encoder named {name!r}: {did_you_mean(name, encoders)}{hint}")
    if is_file and options.data is not None:
        check_name("--data", options.data)
    given = {"--data": options.data, "--labels": options.labels, "--seed": options.seed, "--out": options.out}
    allowed = ["--data", "--out"] if is_file else []
    allowed += ["--labels"] if path.suffix == ".npy" else []
    if wrong := [flag for flag, value in given.items() if value is not None and flag not in allowed]:
        purpose = "features in a .npy file" if wrong[0] == "--labels" else ", ".join(encoders)
        raise UserError(f"{wrong[0]} does not go with {path}: it is for {purpose}")


def any_configuration(method: str | None = None, data: str | None = None) -> list[str]:
    """Arguments of a configuration for help on its settings; a missing method or data set is replaced by a default."""
    return [*choose("data", data or "digits"), *choose("method", method or "ssl_bench.methods.frozen.Pixels")]


def print_help(key: str, arguments: list[str]) -> None:
    """Print the settings under a key of a configuration."""
    from ssl_bench.runs.settings_help import print_settings

    print_settings(key, arguments)


@sigterm.handled()
def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code, 0 if it is done, 2 for a usage error, 1 for any other error."""
    try:
        parser = command_line()
        options, rest = parser.parse_known_args(argv)
        if rest and options.command in ("list", "table"):
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        if options.command not in ("list", "table"):
            check_ranks()
    except UserError as error:
        print(f"ssl-bench: {error}", file=sys.stderr)
        return 2
    if options.debug:
        with watched():
            return run(options, rest)
    try:
        with watched():
            return run(options, rest)
    except (UserError, RunError) as error:
        print(f"ssl-bench: {error}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1
    except (KeyboardInterrupt, SystemExit) as interruption:  # Lightning turns the first into the second
        if isinstance(interruption, SystemExit) and interruption.code in (None, 0):
            return 0
        print("ssl-bench: interrupted; the same command resumes from the last checkpoint", file=sys.stderr)
        return 1
    except Terminated as reason:
        report(reason)
        return 1
    except BrokenPipeError:  # the program that reads the output, such as `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL_DISK:
            where = f" {error.filename}" if error.filename else ""
            print(f"ssl-bench: cannot write{where}: {error.strerror}: free some space, and the same command resumes",
                  file=sys.stderr)  # fmt: skip
            return 1
        line = str(error).strip().split("\n")[0]
        print(f"ssl-bench: {type(error).__name__}: {line} (--debug prints the traceback)", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
