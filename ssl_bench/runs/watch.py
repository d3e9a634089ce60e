"""End all processes of a command when one of them is lost or fails.

Without this, the others wait in a collective until it times out, which takes 30 minutes with gloo and 10 with NCCL. In
every process of a group, one thread increments a heartbeat in a key-value store and reads those of the others. A second
thread ends the process when a heartbeat stops or the store does not respond. A long computation or a long wait does not
stop a heartbeat. With a single process, no thread is started.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ssl_bench.errors import RunError, UserError
from ssl_bench.runs.heartbeats import Heartbeats, Limits
from ssl_bench.termination import Terminated, sigterm

LOST = "a process was lost; the same command resumes from the last checkpoint"
OTHER_FAILED = "stopped, because another process did: {}"
LAUNCHER = "SSL_BENCH_LAUNCHER"
"""Environment variable with the process id of rank 0, for the processes that it starts."""


class Watch(threading.Thread):
    """Monitor the other processes of a command, and end this process if one of them is lost or fails."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(daemon=True, name="watch")
        started_by_rank_0 = int(os.environ.get("LOCAL_RANK", "0")) > 0 and LAUNCHER in os.environ
        self.limits = limits
        self.launcher = int(os.environ[LAUNCHER]) if started_by_rank_0 else None
        self.joining: float | None = None
        """Time at which this process began to join the group; None before and after."""
        self.heartbeats: Heartbeats | None = None
        self.stop = threading.Event()
        self.starting = threading.Lock()
        self.exit_lock = threading.Lock()  # held by the thread that ends this process

    def expect_group(self) -> None:
        """Start to wait for the other processes to join the group."""
        if self.launcher is None:
            os.environ[LAUNCHER] = str(os.getpid())
        self.joining = time.monotonic()
        if not self.is_alive():
            self.start()

    def run(self) -> None:
        """Check the other processes until the command ends."""
        last = time.monotonic()
        while not self.stop.wait(self.limits.period):
            now = time.monotonic()
            heartbeats = self.start_heartbeats()
            if heartbeats and now - last > self.limits.silence / 2:  # this process was suspended, others perhaps too
                heartbeats.others.update(dict.fromkeys(list(heartbeats.others), now))
            last = now
            if problem := self.problem():
                self.stop.wait(self.limits.grace)
                self.end(self.problem() or problem)

    def start_heartbeats(self) -> Heartbeats | None:
        """Start the heartbeats if the processes have joined a group. None before."""
        with self.starting:
            if self.joining is not None and group_exists():
                self.joining, self.heartbeats = None, Heartbeats(self.limits)
                self.heartbeats.start()
        return self.heartbeats

    def problem(self) -> str:
        """Reason for which this process must end, in one line; empty if there is none."""
        if self.joining is not None and time.monotonic() - self.joining > self.limits.joining:
            return not_joined(self.limits)
        heartbeats = self.heartbeats
        if heartbeats and heartbeats.failure:
            return OTHER_FAILED.format(heartbeats.failure)
        orphan = self.launcher is not None and os.getppid() != self.launcher
        child_failed = any(child.poll() for child in sigterm.children)
        lost = orphan or child_failed or (heartbeats and (heartbeats.store_lost or heartbeats.silent()))
        return LOST if lost else ""

    def end(self, problem: str) -> None:
        """End this process at once, also while its main thread waits."""
        if self.stop.is_set() or not self.exit_lock.acquire(blocking=False):
            return
        try:
            if self.heartbeats:
                for rank in self.heartbeats.silent():
                    kill_relative(self.heartbeats.addresses.get(rank, ""))
            print(f"ssl-bench: {problem}", file=sys.stderr, flush=True)
            if self.heartbeats:
                self.heartbeats.leave(wait=1)
        finally:  # also if nothing reads stderr any more
            os._exit(1)

    def failed(self, error: BaseException) -> RunError | None:
        """Announce to the other processes that this one fails.

        Returns:
            The error to raise instead, if the given one is a consequence of the end of another process.
        """
        heartbeats = self.start_heartbeats()
        if heartbeats is None:
            expected = self.joining is not None and is_communication_error(error)
            return RunError(not_joined(self.limits, error)) if expected else None
        if not self.exit_lock.acquire(blocking=False):
            self.stop.wait()  # the thread of the watch is ending this process
        if isinstance(error, Terminated) and error.step is not None:  # all others end too
            heartbeats.leave()
            return None
        if is_communication_error(error):
            deadline = time.monotonic() + self.limits.grace
            while not (heartbeats.failure or heartbeats.store_lost) and time.monotonic() < deadline:
                time.sleep(0.1)
            # Rank 0 leaves after the others have read the failure.
            heartbeats.leave(wait=self.limits.grace if heartbeats.failure else 0)
            return RunError(OTHER_FAILED.format(heartbeats.failure) if heartbeats.failure else LOST)
        line = (str(error) or type(error).__name__).splitlines()[0]
        own = isinstance(error, UserError | RunError) or not isinstance(error, Exception)  # e.g. Ctrl-C
        kind = "" if own else f"{type(error).__name__}: "
        heartbeats.leave(f"rank {heartbeats.rank} of {heartbeats.world_size}: {kind}{line}", wait=3 * self.limits.grace)
        return None


watch: Watch | None = None


@contextmanager
def watched(limits: Limits | None = None) -> Iterator[None]:
    """Context manager of a command: if one of its processes is lost or fails, all others end with one line.

    The command calls `expect_group` before its processes form a group.

    Args:
        limits: see `Limits`.

    Raises:
        RunError: another process was lost or failed, or did not join the group.
    """
    global watch
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # otherwise the store prints many lines about a lost process
    watch = Watch(limits or Limits())
    if watch.launcher is not None:
        watch.start()
    try:
        yield
        if heartbeats := watch.start_heartbeats():
            heartbeats.leave()
    except BaseException as error:
        if consequence := watch.failed(error):
            raise consequence from error
        raise
    finally:
        watch.stop.set()


def expect_group(world_size: int) -> None:
    """Announce that this command is about to form a group of this many processes; see `watched`."""
    if watch and world_size > 1:
        watch.expect_group()


def watch_children(processes: "list[subprocess.Popen[bytes]]") -> None:
    """Monitor launched processes: they receive SIGTERM with this one, and this one ends if one of them fails."""
    sigterm.children = processes


def group_exists() -> bool:
    """Whether the processes have joined a group."""
    import torch.distributed as dist

    return dist.is_available() and dist.is_initialized()


def not_joined(limits: Limits, error: BaseException | None = None) -> str:
    """Reason for which the processes could not join a group, in one line."""
    host, port = (os.environ.get(name, "unknown") for name in ("MASTER_ADDR", "MASTER_PORT"))
    if "EADDRINUSE" in str(error):
        return f"port {port} is in use: set MASTER_PORT to a free port"
    return (
        f"the processes did not all join at {host}:{port} within {limits.joining:.0f} s: check that all were started, "
        "and that MASTER_ADDR and MASTER_PORT name rank 0 for all of them"
    )


def is_communication_error(error: BaseException) -> bool:
    """Whether an error is of a collective or of joining a group, and not of this process."""
    import torch.distributed as dist

    return isinstance(error, dist.DistError) or (type(error) is RuntimeError and "gloo" in str(error))


def kill_relative(address: str) -> None:
    """Kill a process without heartbeats if it is the parent, a child or a sibling of this process."""
    host, _, number = address.partition(" ")
    if host != socket.gethostname():
        return
    pid = int(number)
    with suppress(OSError):
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        if pid == os.getppid() or parent in (os.getpid(), os.getppid()):
            os.kill(pid, signal.SIGKILL)
