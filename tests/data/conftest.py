"""Fixtures: each data set, from tiny files in its real format."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssl_bench.data.module import DataModule
from tests.data.samples import SAMPLES

Make = Callable[..., DataModule]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SSL_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def make(root: Path) -> Make:
    """Function that writes a data set's files, applies `damage` to them, and returns its module without setup."""

    def build(name: str, damage: Callable[[Path], object] | None = None, **options: Any) -> DataModule:
        kind, write_files = SAMPLES[name]
        arguments = write_files(root)
        if damage:
            damage(root)
        return kind(**arguments | options)

    return build


@pytest.fixture(params=sorted(SAMPLES))
def module(request: pytest.FixtureRequest, make: Make) -> DataModule:
    """The module of each data set after setup."""
    built = make(request.param)
    built.prepare_data()
    built.setup()
    return built
