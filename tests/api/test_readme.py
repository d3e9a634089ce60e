"""The examples of the page about the API, run in order."""

import re
from pathlib import Path
from typing import Any

import pytest

import ssl_bench

PAGE = (Path(ssl_bench.__file__).parent / "api" / "README.md").read_text(encoding="utf-8")


def test_the_examples_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {}
    examples = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(examples) == 6
    for example in examples:
        exec(example, scope)
    assert scope["features"].shape == (359, 10)


@pytest.mark.parametrize("name", ssl_bench.__all__)
def test_every_public_name_is_on_the_page(name: str) -> None:
    assert f"`{name}`" in PAGE
