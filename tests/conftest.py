"""What all tests share: quiet threads and one pool of gloo processes."""

import os

# Before torch: one thread for each process, as tests share the cores between them; more of them starve each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("MPLBACKEND", "Agg")

from collections.abc import Iterator

import pytest

from tests.ranks import Ranks


@pytest.fixture(scope="session")
def ranks() -> Iterator[Ranks]:
    """``ranks(function, *arguments, size=2)`` returns what each rank of a gloo group of that size returned."""
    pool = Ranks()
    yield pool
    pool.close()
