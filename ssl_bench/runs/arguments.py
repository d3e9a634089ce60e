"""The commands of `ssl-bench` with their arguments and help texts."""

import argparse
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from ssl_bench.errors import UserError, did_you_mean

TRAINING = """every other key of the configuration is a flag too:
  ssl-bench bench --method simvae --data mnist --method.sigma2 0.1

help on these keys, with their values for the chosen method and data set:
  ssl-bench bench --method simvae --data mnist --method.help
  likewise --data.help, --views.help, --trainer.help, --evaluation.help, and
  deeper --method.encoder.help, --method.optimizer.help, --evaluation.knn.help

all keys with their values, as YAML:
  ssl-bench bench --method simvae --data mnist --print_config

rerun a recorded run:
  ssl-bench bench --config runs/RUN/config.yaml"""

TRUST = "folder of modules whose classes files may name, beside those of ssl_bench; may be given several times"


SCORING = """ENCODER is a run, a baseline, an external encoder or a file of features:
  ssl-bench evaluate runs/RUN                      score the last checkpoint
  ssl-bench evaluate pixels --data fashion_mnist   or pca, or random
  ssl-bench evaluate timm/resnet18 --data digits   untrained; with weights:
  ssl-bench evaluate timm/resnet18.a1_in1k --data digits
  ssl-bench evaluate torchvision/resnet50.IMAGENET1K_V2 --data cifar10,mnist
  ssl-bench evaluate hub/FOLDER --data digits      exported; or hub/USER/NAME
  ssl-bench evaluate MODULE:FUNCTION --data digits returns an nn.Module
  ssl-bench evaluate FILE                          features

FILE is .safetensors or .npz with train_features, train_labels, test_features
and test_labels (optionally validation_features and validation_labels), or with
features and labels alone. Missing splits are held out. FILE may also be .npy
with features alone; then give --labels FILE.npy.

settings of the evaluation are flags, such as --evaluation.knn.k=[1,5]:
  ssl-bench evaluate --evaluation.help             all of them
  ssl-bench evaluate --evaluation.knn.help         those of one protocol
For baselines and timm models, every key of the configuration is a flag."""


TABLES = """examples:
  ssl-bench table runs                             runs of the folder runs
  ssl-bench table runs --sort svm/accuracy --metrics 'svm/*' seconds/fit
  ssl-bench table simvae_1                         a table of a paper, with our
                                                   scores of the folder runs
  ssl-bench table simvae_1 simvae_hair other_runs  two of them, other runs
  ssl-bench table all                              all tables of papers
  ssl-bench table simvae_1 --data mnist --rows vae simvae
`ssl-bench list tables` lists the tables of papers."""


EXPORTS = """examples:
  ssl-bench export runs/RUN --out encoder          weights in safetensors
  ssl-bench export runs/RUN --out encoder --format onnx
  ssl-bench export runs/RUN --out encoder --push USER/NAME
in Python: ssl_bench.load_encoder("encoder")"""


REPORTS = """examples:
  ssl-bench report                                 runs of the folder runs
  ssl-bench report runs other_runs --out page.html
The page needs no network. Pictures link to the run folders, so keep it beside
them."""


SWEEPS = """values with commas are lists; all combinations are run:
  ssl-bench sweep --method simvae,vae --data digits,mnist --seeds 0,1,2
  ssl-bench sweep --method vae --data digits --method.beta 1,1.2,4
  ssl-bench sweep --table simvae_1 --data mnist --epochs 20 --dry_run

every other key of the configuration is a flag, as of `ssl-bench bench`. Runs
that are recorded are not run again, and the same command resumes."""


RUN_FOLDER = re.compile(r"[^/]+-s-?\d+-[0-9a-f]{8}")
"""Names of run folders, see `ssl_bench.config.identity.run_folder`."""


def files_and_flags(arguments: list[str]) -> tuple[list[Path], list[str]]:
    """Separate the files of ``--config`` from the other flags, so that flags can replace the settings of all files.

    Args:
        arguments: flags with their values; ``--config FILE`` and ``--config=FILE`` may be anywhere.

    Raises:
        UserError: ``--config`` has no value.
    """
    files, flags, rest = [], [], iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name != "--config":
            flags.append(argument)
            continue
        value = value if equals else next(rest, "")
        if not value or (not equals and value.startswith("--")):
            raise UserError("--config needs a file: give a YAML file of settings, such as the config.yaml of a run")
        files.append(Path(value).expanduser())
    return files, flags


def output_folder(out: Path | None, files: list[Path]) -> Path:
    """Folder of the run folders: ``out``, else the folder that contains the run of ``--config RUN/config.yaml``.

    Without both it is ``runs``. A recorded run is thus found from any working directory, also after it was moved.

    Args:
        out: value of ``--out``.
        files: files of ``--config``; the last one decides.
    """
    if out is None and files:
        file = files[-1].resolve()
        if file.name == "config.yaml" and RUN_FOLDER.fullmatch(file.parent.name):
            return file.parent.parent
    return out or Path("runs")


class CommandParser(argparse.ArgumentParser):
    """A parser whose errors are one line without the usage."""

    def error(self, message: str) -> NoReturn:
        """Raise a usage error.

        Raises:
            UserError: always; for a value that is not one of a few, the message names the right ones.
        """
        if wrong := re.fullmatch(r"argument (\S+): invalid choice: '(.*)' \(choose from (.*)\)", message):
            choices = re.findall("[a-z]+", wrong[3])
            expected = did_you_mean(wrong[2], choices) if wrong[1] == "COMMAND" else f"give {', '.join(choices)}"
            message = f"{wrong[1]} got {wrong[2]!r}: {expected}"
        raise UserError(f"{message} (`{self.prog} --help` explains the arguments)")


def command_line() -> argparse.ArgumentParser:
    """The parser of the commands and their arguments; other flags are parsed with the configuration."""
    parser = CommandParser(
        prog="ssl-bench", description="Train self-supervised methods and score their encoders by the same protocols."
    )
    parser.add_argument("--version", action="version", version=version("ssl_bench"))
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str, **settings: Any) -> argparse.ArgumentParser:
        raw = argparse.RawDescriptionHelpFormatter
        command = commands.add_parser(name, help=text, description=f"{text}.", formatter_class=raw, **settings)
        command.add_argument("--debug", action="store_true", help="print tracebacks of errors")
        return command

    def add_trust(command: argparse.ArgumentParser) -> None:
        command.add_argument("--trust", action="append", default=[], metavar="FOLDER", help=TRUST)

    def add_wait(command: argparse.ArgumentParser) -> None:
        command.add_argument("--wait", action="store_true", help="wait while another process works on the same run")

    for name, text in {
        "bench": "Train, score and record a run; print the table of its data set",
        "fit": "Train only; print the run folder",
    }.items():
        command = add(name, text, epilog=TRAINING, allow_abbrev=False, add_help=False)
        command.add_argument(
            "-h", "--help", action="store_true", help="show this help, and the arguments of the chosen method"
        )
        command.set_defaults(print_help=command.print_help)
        command.add_argument("--method", help="a name from `ssl-bench list`, or the import path of a Method")
        command.add_argument("--data", help="a name from `ssl-bench list`, or the import path of a DataModule")
        command.add_argument(
            "--experiment",
            metavar="NAME",
            help="an experiment, or a row TABLE/ROW of a paper's table, from `ssl-bench list`; "
            "default METHOD-DATA if it exists",
        )
        command.add_argument("--seed", metavar="N", help="seed of initialisation, data order and views; default 0")
        command.add_argument(
            "--out",
            type=Path,
            metavar="FOLDER",
            help="folder of the run folders; default runs; for --config RUN/config.yaml, the folder that contains RUN",
        )
        command.add_argument(
            "--epochs", dest="trainer.max_epochs", metavar="N", help="number of epochs; 0 scores the untrained encoder"
        )
        command.add_argument("--devices", dest="trainer.devices", metavar="N", help="devices per node, or auto")
        text = "make one step, and print parameters, steps and memory; no run folder is written"
        command.add_argument("--dry_run", action="store_true", help=text)
        add_trust(command)
        add_wait(command)
    command = add("evaluate", "Score an encoder or features without training", epilog=SCORING, allow_abbrev=False)
    command.add_argument("encoder", nargs="?", metavar="ENCODER", help="encoder or features to score; see below")
    command.add_argument("--data", help="data set to score the encoder on; for a FILE, the name of the data set")
    command.add_argument("--labels", type=Path, metavar="FILE", help="labels of the features in a .npy file")
    command.add_argument("--seed", metavar="N", help="seed of an untrained encoder; default 0")
    command.add_argument("--out", type=Path, metavar="FOLDER", help="folder of the run folders; default runs")
    command.add_argument("--devices", metavar="N", default="auto", help="processes, one per device; default auto")
    add_trust(command)
    add_wait(command)
    text = "Train and score many runs, those that are missing, and print their table"
    command = add("sweep", text, epilog=SWEEPS, allow_abbrev=False)
    command.add_argument("--method", default="", metavar="NAMES", help="methods, separated by commas")
    command.add_argument("--experiment", default="", metavar="NAMES", help="experiments, separated by commas")
    command.add_argument("--table", default="", metavar="TABLE", help="the rows of a paper's table")
    command.add_argument("--scale", default="", metavar="SCALE", help="smaller profile of the table, such as digits")
    command.add_argument("--rows", default="", metavar="ROWS", help="rows of the table; default all")
    command.add_argument("--data", default="", metavar="NAMES", help="data sets; of a table, default all")
    command.add_argument("--seeds", metavar="SEEDS", help="seeds; default 0, or of a table the paper's number of seeds")
    command.add_argument("--out", type=Path, default=Path("runs"), metavar="FOLDER", help="default runs")
    command.add_argument("--epochs", dest="trainer.max_epochs", metavar="N", help="number of epochs")
    command.add_argument("--devices", dest="trainer.devices", metavar="N", help="devices of one run, or auto")
    launchers = ("local", "slurm", "ray")
    command.add_argument("--launcher", choices=launchers, default="local", help="where the runs are; default local")
    command.add_argument("--jobs", metavar="N", help="local: runs at a time, which share out cores and GPUs; default 1")
    command.add_argument("--cpus", metavar="N", help="slurm and ray: CPU cores of a run; default 1")
    command.add_argument("--gpus", metavar="N", help="slurm and ray: GPUs of a run; default 0")
    command.add_argument("--slurm.hours", metavar="H", help="time limit of a job, after which it resumes; default 24")
    command.add_argument("--slurm.partition", metavar="NAME", help="partition; default that of the cluster")
    command.add_argument("--ray.address", metavar="HOST:PORT", help="the cluster; default RAY_ADDRESS or this machine")
    text = "write a wandb sweep of the runs to FILE instead of running them"
    command.add_argument("--wandb_sweep", type=Path, metavar="FILE", help=text)
    command.add_argument("--dry_run", action="store_true", help="print the plan, run nothing")
    add_trust(command)
    text = "Make and inspect generated views; an interrupted command resumes"
    command = commands.add_parser("views", help=text, add_help=False)  # runs/views.py parses the other arguments
    command.add_argument("--debug", action="store_true")
    add_trust(command)
    command = add("list", "List methods, encoders, data sets, protocols, views, experiments and tables")
    command.add_argument(
        "word", nargs="?", metavar="WORD", help="a section such as experiments, or part of a name or description"
    )
    text = "Print recorded runs as tables, or tables of papers with our scores"
    command = add("table", text, epilog=TABLES)
    command.add_argument(
        "names", nargs="*", default=[], metavar="NAME", help="tables, run folders, or folders of them; default runs"
    )
    formats = ("terminal", "markdown", "csv", "latex")  # those of results.formats, which takes long to import
    command.add_argument("--format", choices=formats, default="terminal", help="default terminal")
    patterns = "names or patterns, such as svm/accuracy, 'kmeans/*', '*' for all metrics, seconds/fit, peak_memory_mb"
    command.add_argument("--metrics", nargs="+", default=(), metavar="PATTERN", help=patterns)
    command.add_argument("--sort", default="", metavar="METRIC", help="sort runs by a metric, the best first")
    command.add_argument("--rows", nargs="+", default=(), metavar="ROW", help="rows of a paper's table; default all")
    command.add_argument("--data", nargs="+", default=(), metavar="DATA", help="data of a paper's table; default all")
    text = "Export the encoder of a run to a folder with weights, configuration and model card"
    command = add("export", text, epilog=EXPORTS)
    command.add_argument("run", metavar="RUN", help="run folder")
    command.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="new folder")
    exports = ("safetensors", "torch_export", "onnx")  # those of api.export, which takes long to import
    command.add_argument("--format", choices=exports, default="safetensors", help="default safetensors")
    command.add_argument(
        "--push", default="", metavar="USER/NAME", help="upload to the Hugging Face Hub, with its token"
    )
    add_trust(command)
    text = "Write one HTML page that compares recorded runs"
    command = add("report", text, epilog=REPORTS)
    command.add_argument(
        "names", nargs="*", default=[], metavar="RUN", help="run folders or folders of them; default runs"
    )
    command.add_argument("--out", type=Path, default=Path("report.html"), metavar="FILE", help="default report.html")
    command.add_argument("--wandb", action="store_true", help="log the page to wandb, too")
    return parser
