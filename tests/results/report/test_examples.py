"""The examples in the docstrings of the report."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["ranking", "agreement", "alignment"])
def test_examples_of_docstrings_hold(name: str) -> None:
    found = doctest.testmod(importlib.import_module(f"ssl_bench.results.report.{name}"))
    assert found.attempted > 0
    assert found.failed == 0
