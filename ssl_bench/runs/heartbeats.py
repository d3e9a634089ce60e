"""Exchange of heartbeats between the processes of a group, through a key-value store."""

import math
import os
import socket
import threading
import time
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Limits:
    """Limits of a watch, in seconds.

    Args:
        period: time between two heartbeats, and between two checks of the others.
        silence: time without a heartbeat after which a process is treated as lost.
        joining: time within which all processes must join the group.
        grace: time for the main thread to end after the end of another process was detected.
    """

    period: float = 1.0
    silence: float = 45.0
    joining: float = 300.0
    grace: float = 5.0


class Heartbeats(threading.Thread):
    """Exchange of heartbeats, failures and normal ends with the other processes, over a separate connection."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(daemon=True, name="heartbeats")
        import torch.distributed as dist

        self.limits = limits
        self.rank = dist.get_rank()
        self.world_size = dist.get_world_size()
        self.others = {rank: time.monotonic() for rank in range(self.world_size) if rank != self.rank}
        """Time of the last heartbeat of each other process that has not ended."""
        self.addresses: dict[int, str] = {}
        """Host and process id of the other processes."""
        self.failure = ""
        """Rank and error of the first process that failed."""
        self.own_failure = ""
        self.store_lost = False
        self.leaving = threading.Event()
        self.leave_deadline = math.inf
        """Time at which rank 0 stops waiting for the others after `leave`."""

    def run(self) -> None:
        """Exchange heartbeats until `leave`."""
        try:
            self.exchange()
        except RuntimeError:  # the process of the store has ended
            self.store_lost = not self.leaving.is_set()

    def exchange(self) -> None:
        """Exchange heartbeats until `leave`; on rank 0, which may serve the store, until all others have left."""
        from torch._C._distributed_c10d import PrefixStore, TCPStore  # torch.distributed does not export them for mypy

        host, port, timeout = os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"], timedelta(seconds=60)
        # torchrun keeps the store when it restarts the processes.
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        tcp_store = TCPStore(host, int(port), wait_for_workers=False, timeout=timeout)
        store = PrefixStore(f"ssl_bench {attempt}", tcp_store)
        store.set(f"address {self.rank}", f"{socket.gethostname()} {os.getpid()}")
        counts = dict.fromkeys(self.others, 0)
        while True:
            leaving = self.leaving.is_set()
            if leaving and self.own_failure:
                store.compare_set("failure", "", self.own_failure)
            if leaving:
                store.set(f"left {self.rank}", "")
            store.add(f"heartbeat {self.rank}", 1)
            for rank in list(self.others):
                if (count := store.add(f"heartbeat {rank}", 0)) != counts[rank]:
                    counts[rank], self.others[rank] = count, time.monotonic()
                    self.addresses[rank] = store.get(f"address {rank}").decode()
                if store.check([f"left {rank}"]):
                    del self.others[rank]
            if not self.failure and store.check(["failure"]):
                self.failure = store.get("failure").decode()
            if leaving and (self.rank > 0 or not self.others or time.monotonic() > self.leave_deadline):
                return
            if leaving:
                time.sleep(self.limits.period / 10)
            # Less often with many processes, because each reads the heartbeats of all others from one store.
            self.leaving.wait(self.limits.period * max(1.0, self.world_size / 32))

    def leave(self, failure: str = "", wait: float | None = None) -> None:
        """End the exchange.

        The thread must end before the interpreter, which otherwise aborts if the thread is in a call of the store.

        Args:
            failure: rank and error of this process if it failed.
            wait: seconds for which rank 0 waits for the others to leave; None for no limit.
        """
        self.own_failure = failure
        self.leave_deadline = math.inf if wait is None else time.monotonic() + wait
        self.leaving.set()
        self.join(None if wait is None else wait + self.limits.grace)

    def silent(self) -> list[int]:
        """Ranks without a heartbeat for too long."""
        now = time.monotonic()
        return [rank for rank, seen in list(self.others.items()) if now - seen > self.limits.silence]
