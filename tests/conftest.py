"""What all tests share: quiet threads and one pool of gloo processes."""

import os

# Before torch: one thread for each process, as tests share the cores between them; more of them starve each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("MPLBACKEND", "Agg")

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ranks import Ranks


@pytest.fixture(scope="session")
def ranks() -> Iterator[Ranks]:
    """``ranks(function, *arguments, size=2)`` returns what each rank of a gloo group of that size returned."""
    pool = Ranks()
    yield pool
    pool.close()


PAIRS = '''
from ssl_bench.methods.base import Method


class Pairs(Method):
    """Contrast pairs of views.

    Args:
        margin: distance of a pair.
    """

    def __init__(self, margin: float = 2.5, **kwargs):
        super().__init__(**kwargs)
'''


@pytest.fixture
def their_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folder of an installed package with the method `pairs`, which needs two views, and its settings."""
    package, info = tmp_path / "their_package", tmp_path / "their_package-1.0.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "__init__.py").touch()
    (package / "model.py").write_text(PAIRS)
    (package / "pairs.yaml").write_text("views: {recipe: [normalize], num_views: 2}\ntrainer: {max_epochs: 3}\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their_package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ssl_bench.methods]\npairs = their_package.model:Pairs\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield package
    for name in [name for name in sys.modules if name.partition(".")[0] == "their_package"]:
        del sys.modules[name]
