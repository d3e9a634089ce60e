"""What all tests share: quiet threads and one pool of gloo processes."""

import os

os.environ.setdefault(
    "OMP_WAIT_POLICY", "PASSIVE"
)  # before torch: spinning threads of several processes starve each other
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
