"""The `ssl-bench` command.

Importing Lightning takes 8 to 11 s, so this file imports it only for what trains: `--help`, `list` and `table`
answer at once.
"""

import argparse
import ast
import sys
from importlib.metadata import entry_points, version
from pathlib import Path

from ssl_bench.catalogue import config_names
from ssl_bench.config.files import choose, stack
from ssl_bench.errors import RunError, UserError, did_you_mean
from ssl_bench.evaluation import PROTOCOLS

FEATURES = (".safetensors", ".npz", ".npy")

KEYS = """Every other key of the configuration is a flag too, after the stacked files (data, method, experiment):
  ssl-bench bench --method simvae --data mnist --method.sigma2 0.1 --trainer.precision bf16-mixed
  ssl-bench bench --method simvae --data mnist --print_config     all keys with their values
  ssl-bench bench --method simvae --data mnist --method.help ssl_bench.methods.simvae.SimVAE     what each means
  ssl-bench bench --config runs/RUN/config.yaml     a recorded run once more"""


VIEWS = {
    "invert": "codes of a data set's images, by a run of METHOD=inversion",
    "search": "W-search: views as far from an image, for an encoder, as its expert views are",
    "perturb": "W-perturb: views at codes with noise on them",
    "sample": "images drawn by a run of METHOD=stylegan2, with their codes",
    "show": "a picture of what a folder holds, and its figures",
    "information": "mutual information between kinds of views (MINE)",
}


SUBJECTS = """what can be scored:
  ssl-bench evaluate runs/RUN                        a run's last checkpoint once more
  ssl-bench evaluate pixels --data fashion_mnist     a floor: pixels, pca or random
  ssl-bench evaluate timm/resnet18 --data digits     a model of timm, untrained; timm/resnet18.a1_in1k has weights
  ssl-bench evaluate FILE                            features: .safetensors or .npz with train_features, train_labels,
      test_features, test_labels (and validation_features, validation_labels), or with features and labels, of which
      test and validation are then held out; or .npy with --labels FILE
--evaluation.KEY VALUE changes how; an encoder takes every key of the configuration, as bench does."""


def command_line() -> argparse.ArgumentParser:
    """The commands and their own flags; what they leave over goes to the configuration's parser."""
    parser = argparse.ArgumentParser(
        prog="ssl-bench", description="Self-supervised learning, every method scored alike."
    )
    parser.add_argument("--version", action="version", version=version("ssl_bench"))
    commands = parser.add_subparsers(dest="command", required=True)
    raw = {"formatter_class": argparse.RawDescriptionHelpFormatter, "epilog": KEYS, "allow_abbrev": False}
    for name, text in {
        "bench": "fit, evaluate, record, and print the table",
        "fit": "fit only: the run folder with its last checkpoint",
    }.items():
        command = commands.add_parser(name, help=text, description=f"{name}: {text}", **raw)  # type: ignore[arg-type]
        command.add_argument("--method", help="a name from `ssl-bench list`, or the import path of a Method")
        command.add_argument("--data", help="a name from `ssl-bench list`, or the import path of a DataModule")
        command.add_argument(
            "--experiment", help="a file of configs/experiment; default METHOD-DATA where there is one"
        )
        command.add_argument("--seed", metavar="N", help="of initialisation, order and views; default 0")
        command.add_argument("--out", metavar="FOLDER", help="where run folders are made; default runs")
        command.add_argument("--epochs", dest="trainer.max_epochs", metavar="N", help="0 scores the untrained encoder")
        command.add_argument("--devices", dest="trainer.devices", metavar="N", help="devices per node, or auto")
        command.add_argument("--debug", action="store_true", help="show tracebacks")
    text = "score what is there, without training"
    command = commands.add_parser(
        "evaluate", help=text, description=text, epilog=SUBJECTS, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.add_argument("subject", help="a run folder, an encoder, timm/NAME or a file of features; see below")
    command.add_argument("--data", help="data set an encoder is scored on; what the table calls a file's")
    command.add_argument("--labels", type=Path, metavar="FILE", help="labels of features in a .npy file")
    command.add_argument("--seed", metavar="N", help="of an untrained encoder; default 0")
    command.add_argument("--out", metavar="FOLDER", help="where run folders are made; default runs")
    command.add_argument("--devices", metavar="N", default="auto", help="processes, one for each device; default auto")
    command.add_argument("--debug", action="store_true", help="show tracebacks")
    text = "generated views: make them, look at them; a folder that is made goes on where it was"
    command = commands.add_parser("views", help=text, description=text)
    made = command.add_subparsers(dest="views", required=True, metavar="COMMAND")
    for name, text in VIEWS.items():
        one = made.add_parser(name, help=text, add_help=False, allow_abbrev=False)  # the rest is its own parser's
        one.add_argument("--debug", action="store_true")
    command = commands.add_parser("list", help="methods, data sets, views, experiments and protocols")
    command.add_argument("--debug", action="store_true", help="show tracebacks")
    command = commands.add_parser("table", help="recorded runs, method by method, beside the papers' figures")
    command.add_argument("runs", nargs="*", type=Path, default=[Path("runs")], help="run folders, or folders of them")
    formats = ("terminal", "markdown", "csv", "latex")  # those of results.formats, which takes long to import
    command.add_argument("--format", choices=formats, default="terminal", help="default terminal")
    patterns = "names or patterns of the metrics to show, such as svm/accuracy 'kmeans/*' or '*' for all"
    command.add_argument("--metrics", nargs="+", default=(), metavar="PATTERN", help=patterns)
    command.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def list_names() -> None:
    """Print everything that has a name, with the line it says of itself."""
    from rich.console import Console
    from rich.table import Table

    methods = config_names("method")
    for entry in entry_points(group="ssl_bench.methods"):
        methods[entry.name] = f"{entry.value}, installed by {entry.dist.name if entry.dist else 'another package'}"
    folder = Path(__file__).parent / "evaluation" / "protocols"
    trees = {name: ast.parse((folder / f"{name}.py").read_text(encoding="utf-8")) for name in PROTOCOLS}
    rooms = {
        "methods": methods,
        "encoders": config_names("encoder"),
        "data": config_names("data"),
        "protocols": {name: (ast.get_docstring(tree) or "").split("\n")[0] for name, tree in trees.items()},
        "views": config_names("views"),
        "experiments": config_names("experiment"),
    }
    console = Console(soft_wrap=not sys.stdout.isatty())
    for room, names in rooms.items():
        console.print(f"[bold]{room}[/bold]")
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(no_wrap=True)  # a name that is cut short cannot be typed
        table.add_column()
        for name, line in names.items():
            table.add_row(f"  {name}", line)
        console.print(table)


def run(options: argparse.Namespace, rest: list[str]) -> int:
    """Carry out one command."""
    match options.command:
        case "list":
            list_names()
        case "table":
            from ssl_bench.results.formats import print_table
            from ssl_bench.results.table import read_records

            print_table(read_records(options.runs), options.format, options.metrics)
        case "evaluate":
            evaluate(options, rest)
        case "views":
            from ssl_bench.runs.views import views

            views(options.views, rest)
        case command:
            files = stack(options.method, options.data, options.experiment)  # a wrong name shows before the long import
            if not files and "--config" not in " ".join(rest):
                raise UserError("nothing to run: give --method and --data (see `ssl-bench list`), or --config FILE")
            named = vars(options)
            flags = [
                f"--{key}={named[key]}"
                for key in ("seed", "out", "trainer.max_epochs", "trainer.devices")
                if named[key] is not None
            ]

            from ssl_bench.runs import train

            train.bench([*files, *flags, *rest], fit_only=command == "fit")
    return 0


def evaluate(options: argparse.Namespace, rest: list[str]) -> None:
    """Find out what is to be scored, and score it."""
    path = Path(options.subject)
    encoder, _, model = options.subject.partition("/")
    if encoder not in config_names("encoder") or path.exists():
        if options.data and not path.exists() and path.suffix not in FEATURES:
            raise UserError(f"no encoder named {encoder!r}: {did_you_mean(encoder, config_names('encoder'))}")
        given = {"--data": options.data, "--labels": options.labels, "--seed": options.seed, "--out": options.out}
        allowed = ["--data", "--out"] if path.suffix in FEATURES else []
        allowed += ["--labels"] if path.suffix == ".npy" else []
        if wrong := [flag for flag, value in given.items() if value is not None and flag not in allowed]:
            raise UserError(f"{wrong[0]} does not go with {path}: it is for {', '.join(config_names('encoder'))}")

        from ssl_bench.runs import evaluate as commands

        if path.suffix in FEATURES:
            out = options.out or "runs"
            commands.evaluate_file(path, options.labels, options.data, out, options.devices, rest)
        else:
            commands.evaluate_run(path, options.devices, rest)
        return
    if options.labels:
        raise UserError(f"--labels does not go with {encoder}: it is for features in a .npy file")
    if not options.data:
        raise UserError(f"--data is missing: give one of {', '.join(config_names('data'))}")
    if (encoder == "timm") != bool(model):
        raise UserError(f"no encoder named {options.subject!r}: give timm/NAME with one of timm's names, or pixels")
    names = {"names.method": options.subject.replace("/", "-"), "names.data": options.data.rpartition(".")[2]}
    settings = names | {"out": options.out, "seed": options.seed, "method.model": model}
    flags = [f"--{key}={value}" for key, value in settings.items() if value]
    files = [*choose("data", options.data), *choose("encoder", encoder)]

    from ssl_bench.runs import evaluate as commands

    commands.evaluate_encoder([*files, *flags, *rest], options.devices)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; the exit code is 0 done, 2 what was asked for is wrong, 1 anything else."""
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does: a class in a file of the working directory is importable
    parser = command_line()
    options, rest = parser.parse_known_args(argv)
    if rest and options.command in ("list", "table"):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if options.debug:
        return run(options, rest)
    try:
        return run(options, rest)
    except (UserError, RunError) as error:
        print(f"ssl-bench: {error}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1
    except (KeyboardInterrupt, SystemExit) as interruption:  # Lightning turns the first into the second
        terminated = type(interruption).__name__ == "SIGTERMException"  # Lightning's, a SystemExit without a code
        if isinstance(interruption, SystemExit) and interruption.code in (None, 0) and not terminated:
            return 0
        print("ssl-bench: interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 1
    except Exception as error:
        line = str(error).strip().split("\n")[0]
        print(f"ssl-bench: {type(error).__name__}: {line} (--debug shows where)", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
