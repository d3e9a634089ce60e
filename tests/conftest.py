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
    """Two processes in one gloo group: ``ranks(function, *arguments)`` returns what each rank returned."""
    pool = Ranks(2)
    yield pool
    pool.close()
