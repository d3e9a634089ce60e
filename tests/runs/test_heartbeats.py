"""Exchange of heartbeats through a store."""

from datetime import timedelta

import pytest
import torch.distributed as dist
from torch._C._distributed_c10d import TCPStore

from ssl_bench.runs.heartbeats import Heartbeats, Limits


def test_a_restarted_attempt_does_not_read_the_failure_of_the_previous_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchrun serves one store for all attempts."""
    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=60))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(server.port))
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)

    def start(attempt: int) -> list[Heartbeats]:
        """The two ranks of an attempt, in one process."""
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", str(attempt))
        ranks = []
        for rank in (0, 1):
            monkeypatch.setattr(dist, "get_rank", lambda rank=rank: rank)
            ranks.append(Heartbeats(Limits(period=0.02)))
            ranks[-1].start()
        return ranks

    first, second = start(0)
    second.leave("rank 1 of 2: MemoryError: out of memory")
    first.leave()
    assert first.failure == "rank 1 of 2: MemoryError: out of memory"
    first, second = start(1)
    second.leave()
    first.leave()
    assert (first.failure, second.failure) == ("", "")
    assert not first.store_lost
    assert not second.store_lost
