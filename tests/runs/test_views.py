"""The arguments of `ssl-bench views`: help and usage errors without torch, and help of one line per argument."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from ssl_bench.generation.commands.arguments import COMMANDS
from ssl_bench.generation.settings import Job, SearchSettings
from ssl_bench.runs.views import arguments_of, read_arguments

SLOW = ("torch", "lightning", "jsonargparse", "numpy")
"""Modules that neither help nor usage errors may import."""
SCRIPT = f"""
import sys
from ssl_bench.cli import main
try:
    code = main(sys.argv[1:])
finally:
    assert not (slow := {SLOW} & sys.modules.keys()), slow
sys.exit(code)
""".replace(f"{SLOW}", repr(set(SLOW)))


def run(*words: str, columns: int = 80) -> subprocess.CompletedProcess[str]:
    """Run ssl-bench in a process of its own; fails if it imports a slow module."""
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *words], capture_output=True, text=True, check=False,
        env={"COLUMNS": str(columns), "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_every_argument_once_and_imports_nothing_slow(name: str, columns: int) -> None:
    done = run("views", name, "--help", columns=columns)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= columns
    folder, *flags = [argument.flag for argument in arguments_of(COMMANDS[name].arguments)]
    assert sum(line.startswith(f"  {folder.upper()} ") for line in lines) == 1
    for flag in flags:
        assert sum(line.startswith(f"  --{flag} ") for line in lines) == 1, flag


@pytest.mark.parametrize("columns", [80, 200])
def test_help_of_views_names_each_command_once(columns: int) -> None:
    done = run("views", "--help", columns=columns)
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= columns
    assert all(sum(line.startswith(f"  {name} ") for line in done.stdout.splitlines()) == 1 for name in COMMANDS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "COMMAND is missing: give one of invert"),
        ("serch", "no command 'serch': did you mean search?"),
        ("perturb", "required: CODES"),
        ("perturb missing", "no folder missing: codes must be a folder made by `views invert`"),
        ("search . --encoder missing", "no folder missing: encoder must be a run folder of a contrastive method"),
        ("search . --encoder . --epss1 1", "unknown argument --epss1: did you mean --eps1"),
        ("search . --encoder . --eps1 3", "eps1 must be a number in [0, 2], got 3"),
        ("search . --encoder . --steps x", "--steps: must be an integer, got 'x'"),
        ("search . --encoder . --compile yes", "--compile: must be true or false, got 'yes'"),
        ("search . --encoder . --target both", "--target: invalid choice: 'both'"),
        ("sample .", "--images is missing"),
    ],
)
def test_usage_errors_are_one_line_and_import_nothing_slow(words: str, message: str) -> None:
    done = run("views", *words.split())
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_arguments_become_the_dataclasses_of_the_command() -> None:
    flags = "--encoder . --eps1 0.3 --views 2 --target image --compile true --images 5 --out o --devices 2"
    command, devices = read_arguments("search", [".", *flags.split()])
    assert command.settings == SearchSettings(views=2, eps1=0.3, target="image")
    assert command.job == Job(out=Path("o"), images=5)
    assert command.compile
    assert devices == "2"


@pytest.mark.parametrize("name", COMMANDS)
def test_no_two_arguments_of_a_command_share_a_name(name: str) -> None:
    names = [argument.name for argument in arguments_of(COMMANDS[name].arguments)]
    assert len(set(names)) == len(names)
    assert len(names) >= len(fields(COMMANDS[name].arguments))
