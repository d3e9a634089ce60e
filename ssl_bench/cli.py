"""The `ssl-bench` command.

Importing torch and Lightning takes seconds. Each command therefore imports modules only after its arguments have been
checked, so that `--help`, `list`, `table` and most usage errors take no noticeable time.
"""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    del sys.path[0]  # `python -m` puts the working directory first, where a file yaml.py would be run

import argparse
import os
from pathlib import Path

from ssl_bench import trust
from ssl_bench.errors import RunError, UserError
from ssl_bench.files import FULL_DISK
from ssl_bench.runs.arguments import command_line
from ssl_bench.runs.checks import check_run_folder
from ssl_bench.runs.evaluate_command import evaluate
from ssl_bench.runs.launcher import check_ranks
from ssl_bench.runs.train_command import train
from ssl_bench.runs.watch import watched
from ssl_bench.termination import Terminated, report, sigterm

READING = ("list", "table", "report", "export")
"""Commands that train nothing and have no settings."""


def run(options: argparse.Namespace, rest: list[str]) -> None:
    """Carry out one command."""
    trust.start(getattr(options, "trust", ()))
    match options.command:
        case "list":
            from ssl_bench.runs.listing import print_names

            print_names(options.word)
        case "table":
            from ssl_bench.runs.tables import print_tables

            print_tables(options.names, options.format, options.metrics, options.rows, options.data, options.sort)
        case "report":
            from ssl_bench.runs.report import report as write_page

            write_page(options.names, options.out, options.wandb)
        case "export":
            export(options)
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


def export(options: argparse.Namespace) -> None:
    """Carry out `ssl-bench export`."""
    folder = Path(options.run)
    if not (folder / "config.yaml").is_file():
        raise UserError(f"no config.yaml in {folder}: give a run folder, as `ssl-bench bench` prints it")
    check_run_folder(folder)
    if options.out.exists():
        raise UserError(f"--out {options.out} exists: give a new folder, or delete it")
    from ssl_bench.api.export import export as write_export
    from ssl_bench.api.hub import check_token, push

    if options.push:
        check_token()

    exported = write_export(folder, options.out, options.format, options.trust)
    print(exported)
    if options.push:
        print(push(exported, options.push))


@sigterm.handled()
def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code, 0 if it is done, 2 for a usage error, 1 for any other error."""
    try:
        parser = command_line()
        options, rest = parser.parse_known_args(argv)
        if rest and options.command in READING:
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        if options.command not in READING:
            check_ranks()
    except UserError as error:
        print(f"ssl-bench: {error}", file=sys.stderr)
        return 2
    if options.debug:
        with watched():
            run(options, rest)
        return 0
    try:
        with watched():
            run(options, rest)
        return 0
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
