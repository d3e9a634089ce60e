"""The examples in docstrings: sessions of Python, run beside the folder of a small run, and commands."""

import doctest
import importlib
import re
import shlex
from pathlib import Path

import pytest

import ssl_bench
from ssl_bench.catalogue import config_names
from ssl_bench.runs.arguments import command_line

ROOT = Path(ssl_bench.__file__).parent
SOURCES = {path: path.read_text(encoding="utf-8") for path in sorted(ROOT.rglob("*.py"))}
MODULES = [
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts) for path, text in SOURCES.items() if ">>> " in text
]
COMMANDS = sorted(
    {c for text in SOURCES.values() for c in re.findall(r"^ +``(ssl-bench [^`]+)``$", text, re.MULTILINE)}
)


@pytest.mark.parametrize("module", MODULES)
def test_examples_of_docstrings_hold(
    module: str, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "vae-digits-s0-1a2b3c4d").symlink_to(run_folder)
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize("name", ssl_bench.__all__)
def test_every_public_name_has_an_example(name: str) -> None:
    assert ">>> " in getattr(ssl_bench, name).__doc__


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_in_docstrings_name_methods_data_and_encoders_that_exist(command: str) -> None:
    """They are those of the READMEs with other names, whose commands are run."""
    options, _ = command_line().parse_known_args(shlex.split(command)[1:])
    assert options.data is None or options.data in config_names("data")
    if options.command == "bench":
        assert options.method in config_names("method")
    else:
        known = (*config_names("encoder"), "runs", "my_module:make_encoder")
        assert options.encoder.partition("/")[0] in known
