"""The examples in the docstrings of the API, run on a small run."""

import doctest
import importlib
from pathlib import Path

import pytest

import ssl_bench

MODULES = sorted({module for module in ssl_bench.MODULES.values() if module.startswith("api.")})


@pytest.mark.parametrize("module", MODULES)
def test_examples_of_docstrings_hold(
    module: str, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "vae-digits-s0-1a2b3c4d").symlink_to(run_folder)
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(importlib.import_module(f"ssl_bench.{module}"), optionflags=doctest.ELLIPSIS)
    assert found.attempted > 0
    assert found.failed == 0
