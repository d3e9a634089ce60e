"""The number of anchors that fit into memory."""

from pathlib import Path

import pytest
import torch

from ssl_bench.generation import memory
from ssl_bench.generation.memory import WORKSPACE, fitting, free_memory, peak_memory

CPU = torch.device("cpu")
WEIGHTS = torch.ones(1000, requires_grad=True)


def step(n: int) -> None:
    """Keeps n rows of 1,000 inputs and n rows of 1,000 exponentials, each value in 4 bytes."""
    x = torch.ones(n, 1000)
    (x * WEIGHTS).exp().sum().backward()


def test_memory_is_that_of_the_tensors_kept_for_the_gradient() -> None:
    rows = [peak_memory(lambda n=n: step(n), CPU) / WORKSPACE for n in (1, 2, 10)]  # type: ignore[misc]
    assert rows[1] - rows[0] == 2 * 4000
    assert rows[2] - rows[0] == 9 * 2 * 4000


@pytest.mark.parametrize(("free", "number"), [(10**9, 128), (10**6, 66), (1000, 1)])
def test_as_many_anchors_are_searched_as_fit(free: int, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda device: free)
    found, sentence = fitting(step, 128, CPU)
    assert found == number
    assert sentence.startswith(f"{number} anchors at a time (--batch_size 128): an anchor needs 0 MiB, ")


def test_a_limit_of_the_control_group_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "/proc/meminfo": ["MemTotal: 9000 kB", "MemAvailable:    8000 kB"],
        "/sys/fs/cgroup/memory.max": ["5000000"],
        "/sys/fs/cgroup/memory.current": ["3000000"],
        "/sys/fs/cgroup/memory.stat": ["anon 1", "inactive_file 1000000", "active_file 7"],
    }
    monkeypatch.setattr(memory, "_lines", lambda path: files.get(str(path), []))
    assert free_memory(CPU) == 3_000_000
    files["/sys/fs/cgroup/memory.max"] = ["max"]
    assert free_memory(CPU) == 8_192_000
    del files["/proc/meminfo"]
    assert free_memory(CPU) is None
    assert fitting(step, 128, CPU) == (128, "128 anchors at a time")
