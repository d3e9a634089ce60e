"""The reference page of the data package names every data set, recipe, step and parameter."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from ssl_bench.catalogue import config_names
from ssl_bench.data.recipes import STEPS

PAGE = (Path(__file__).parents[2] / "ssl_bench" / "data" / "README.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ")]
FIRST_CELLS = {name for row in ROWS for name in re.findall(r"`(\w+)`", row.split("|")[1])}


@pytest.mark.parametrize("kind", ["data", "views"])
def test_every_data_set_and_recipe_has_a_row(kind: str) -> None:
    assert {name.removesuffix("_released") for name in config_names(kind)} <= FIRST_CELLS


@pytest.mark.parametrize("step", STEPS)
def test_every_step_has_a_row_with_its_parameters(step: str) -> None:
    (row,) = (row for row in ROWS if re.match(rf"\| .*`{step}`[^|]*\| [^|]*\(", row))
    named = set(re.findall(r"`(\w+)`", row.split("|")[2])) - {"bilinear", "bicubic"}
    assert named == {field.name for field in fields(STEPS[step])}  # type: ignore[arg-type]
