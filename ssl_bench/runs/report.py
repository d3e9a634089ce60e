"""`ssl-bench report`: one HTML page that compares recorded runs."""

import ast
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

import ssl_bench
from ssl_bench.catalogue import config_file, config_names
from ssl_bench.config.identity import differences, result_settings
from ssl_bench.config.tables import read_table
from ssl_bench.errors import RunError, UserError, shorten
from ssl_bench.results.record import Record
from ssl_bench.results.report.page import GENERATOR, make_report, write_report
from ssl_bench.results.report.run_pages import Change
from ssl_bench.results.table import read_records
from ssl_bench.runs.paper_tables import fill
from ssl_bench.runs.recorded_runs import YAML_LOADER, read_config, read_runs
from ssl_bench.runs.resolved_experiments import as_chosen, resolved_default
from ssl_bench.runs.tracking import is_enabled, log_report

LONGEST = 120
"""Most characters of a value of a setting."""


def report(names: Sequence[str], out: Path, wandb: bool = False) -> None:
    """Write the page of run folders, and print its path.

    Args:
        names: run folders and folders of run folders; default ``runs``.
        out: path of the page.
        wandb: whether to log the page to wandb, too.

    Raises:
        UserError: there are no records, a record is damaged, the file cannot be written, or wandb is not available.
    """
    check_output(out)
    if wandb and not is_enabled():
        raise UserError("--wandb: wandb is not installed or is disabled: install it, or unset WANDB_MODE")
    folders = [Path(name) for name in names] or [Path("runs")]
    records = read_records(folders)
    runs = read_runs(folders)
    papers = [fill(read_table(name), runs) for name in config_names("table")]
    content = make_report(records, out, papers, changed_settings, families())
    for note in content.notes:
        print(f"warning: {note}", file=sys.stderr)
    write_report(content, out)
    if wandb:
        log_report(out)
    print(out)


def families() -> dict[str, str]:
    """Family of each method by its name, for records that do not have it."""
    return {name: _family(*path.rsplit(".", 1)) for name, path in _classes("method").items() if "." in path}


def _family(module: str, name: str) -> str:
    """The attribute `family` of a class, or of its first base that has it, read without importing torch."""
    file = Path(ssl_bench.__file__).parents[1] / f"{module.replace('.', '/')}.py"
    if not module.startswith("ssl_bench.") or not file.is_file():
        return ""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    sources = {
        alias.name: node.module for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            for part in node.body:
                if isinstance(part, ast.Assign) and ast.unparse(part.targets[0]) == "family":
                    return str(ast.literal_eval(part.value))
            bases = [ast.unparse(base) for base in node.bases]
            return next(filter(None, (_family(sources.get(base) or module, base) for base in bases)), "")
    return ""


def check_output(out: Path) -> None:
    """Check that the page can be written, before anything is read.

    Raises:
        UserError: the path is a folder, is in no folder, or is a file that is not a report.
    """
    if out.is_dir():
        raise UserError(f"--out {out} is a folder: give a file, such as {out / 'report.html'}")
    if not out.parent.is_dir():
        raise UserError(f"--out {out}: there is no folder {out.parent}")
    if out.is_file() and out.stat().st_size:
        with out.open(encoding="utf-8", errors="replace") as file:
            if GENERATOR not in file.read(1000):
                raise UserError(f"--out {out} exists and is not a report of ssl-bench: give another file")


def changed_settings(record: Record) -> list[Change] | None:
    """Settings of a run that differ from the defaults of its method on its data; None if one of them is not known.

    The defaults are those of ``ssl-bench bench --method METHOD --data DATA``. Settings without influence on the result,
    such as the number of workers, are not compared.
    """
    config = read_config((record.folder or Path()) / "config.yaml")
    method, data = (_name_of_class(kind, config) for kind in ("method", "data"))
    if not (method and data):
        return None
    try:
        expected = result_settings(as_chosen(resolved_default(method, data), config), seed=False)
        found = list(differences(result_settings(config, seed=False), expected))
    except (AttributeError, KeyError, TypeError, UserError, RunError):
        return None  # a configuration of another version
    return [
        Change(".".join(keys).replace(".init_args", ""), _text(theirs), _text(ours)) for keys, theirs, ours in found
    ]


def _text(value: Any) -> str:
    return "none" if value is None else shorten(str(value), LONGEST)


def _name_of_class(kind: str, config: dict[str, Any]) -> str:
    """Name of the file of a method or data set with the class of a configuration; empty if there is none.

    Of several files with the class, the one is taken whose name begins that of the run, such as ``simvae`` of
    ``simvae-narrow``.
    """
    try:
        path, name = config[kind]["class_path"], config["names"][kind]
    except (KeyError, TypeError):
        return ""
    names = [one for one, known in _classes(kind).items() if known == path]
    begins = [one for one in names if name == one or name.startswith(f"{one}-")]
    return next(iter([*begins, *names]), "")


@cache
def _classes(kind: str) -> dict[str, str]:
    """Class of each method or data set by its name."""
    content = {
        name: yaml.load(config_file(kind, name).read_text(encoding="utf-8"), YAML_LOADER) for name in config_names(kind)
    }
    return {name: one.get(kind, {}).get("class_path", "") for name, one in content.items()}
