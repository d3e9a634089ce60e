"""End all processes of a command when one of them is lost or fails.

Without this, the others wait in a collective until it times out, which takes 30 minutes with gloo and 10 with NCCL. In
every process of a group, one thread counts up a heartbeat in a key-value store and reads those of the others, and a
second thread ends the process when a heartbeat stops or the store does not answer. A long computation or a long wait
does not stop a heartbeat. Nothing runs in a single process.
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
    """Watch over the other processes of a command, which ends this process if one of them is lost or fails."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(daemon=True, name="watch")
        started_by_rank_0 = int(os.environ.get("LOCAL_RANK", "0")) > 0 and LAUNCHER in os.environ
        self.limits = limits
        self.launcher = int(os.environ[LAUNCHER]) if started_by_rank_0 else None
        self.children: list[subprocess.Popen[bytes]] = []
        self.joining: float | None = None
        """When this process began to join the group; None before and after."""
        self.heartbeats: Heartbeats | None = None
        self.stop = threading.Event()
        self.starting = threading.Lock()
        self.last_word = threading.Lock()  # of the one thread that prints why this process ends

    def expect_group(self) -> None:
        """Start to wait for the other processes to join the group."""
        os.environ[LAUNCHER] = str(os.getpid())
        self.joining = time.monotonic()
        if not self.is_alive():
            self.start()

    def run(self) -> None:
        """Check the other processes until the command ends."""
        last = time.monotonic()
        while not self.stop.wait(self.limits.period):
            now = time.monotonic()
            beats = self.start_heartbeats()
            if beats and now - last > self.limits.silence / 2:  # this process was suspended, perhaps with all others
                beats.others.update(dict.fromkeys(list(beats.others), now))
            last = now
            if problem := self.problem():
                self.stop.wait(self.limits.grace)
                self.end(self.problem() or problem)

    def start_heartbeats(self) -> Heartbeats | None:
        """The heartbeats, which start when the processes have joined a group."""
        with self.starting:
            if self.joining is not None and group_exists():
                self.joining, self.heartbeats = None, Heartbeats(self.limits)
                self.heartbeats.start()
        return self.heartbeats

    def problem(self) -> str:
        """Why this process must end, in one line; empty if it need not."""
        if self.joining is not None and time.monotonic() - self.joining > self.limits.joining:
            return not_joined(self.limits)
        beats = self.heartbeats
        if beats and beats.failure:
            return OTHER_FAILED.format(beats.failure)
        orphan = self.launcher is not None and os.getppid() != self.launcher
        if orphan or any(child.poll() for child in self.children) or (beats and (beats.store_lost or beats.silent())):
            return LOST
        return ""

    def end(self, problem: str) -> None:
        """End this process at once, whatever its main thread waits for."""
        if self.stop.is_set() or not self.last_word.acquire(blocking=False):
            return
        print(f"ssl-bench: {problem}", file=sys.stderr, flush=True)
        if self.heartbeats:
            for rank in self.heartbeats.silent():
                kill_relative(self.heartbeats.addresses.get(rank, ""))
            self.heartbeats.leave(wait=1)
        os._exit(1)

    def failed(self, error: BaseException) -> RunError | None:
        """Announce to the other processes that this one fails.

        Returns:
            The error to raise in place of the given one, if that is a consequence of the end of another process.
        """
        beats = self.start_heartbeats()
        if beats is None:
            expected = self.joining is not None and is_communication_error(error)
            return RunError(not_joined(self.limits, error)) if expected else None
        if not self.last_word.acquire(blocking=False):
            self.stop.wait()  # the other thread is ending this process
        if isinstance(error, Terminated) and error.step is not None:  # so are all others
            beats.leave()
            return None
        if is_communication_error(error):
            deadline = time.monotonic() + self.limits.grace
            while not (beats.failure or beats.store_lost) and time.monotonic() < deadline:
                time.sleep(0.1)
            beats.leave(wait=self.limits.grace if beats.failure else 0)  # until the others have read the failure
            return RunError(OTHER_FAILED.format(beats.failure) if beats.failure else LOST)
        line = (str(error) or type(error).__name__).splitlines()[0]
        own = isinstance(error, UserError | RunError) or not isinstance(error, Exception)  # or an interruption
        kind = "" if own else f"{type(error).__name__}: "
        beats.leave(f"rank {beats.rank} of {beats.world_size}: {kind}{line}", wait=3 * self.limits.grace)
        return None


watch: Watch | None = None


@contextmanager
def watched(limits: Limits | None = None) -> Iterator[None]:
    """Context manager of a command, in which the loss or the failure of one process ends all others in one line.

    The command calls `expect_group` before its processes form a group.

    Args:
        limits: see `Limits`.

    Raises:
        RunError: another process was lost or failed, or did not join the group.
    """
    global watch
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # else the store warns of a lost process in many lines
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
    """End this process if one of these processes fails, and these processes if this one receives SIGTERM."""
    if watch:
        watch.children = processes
    sigterm.children = processes


def group_exists() -> bool:
    """Whether the processes have joined a group."""
    import torch.distributed as dist

    return dist.is_available() and dist.is_initialized()


def not_joined(limits: Limits, error: BaseException | None = None) -> str:
    """Why the processes could not join a group, in one line."""
    host, port = (os.environ.get(name, "unknown") for name in ("MASTER_ADDR", "MASTER_PORT"))
    if "EADDRINUSE" in str(error):
        return f"port {port} is in use: set MASTER_PORT to a free port"
    return (
        f"the processes did not all join at {host}:{port} within {limits.joining:.0f} s: check that all were started, "
        "and that MASTER_ADDR and MASTER_PORT name rank 0 for all of them"
    )


def is_communication_error(error: BaseException) -> bool:
    """Whether an error is that of a collective, or of joining a group, rather than of this process."""
    import torch.distributed as dist

    return isinstance(error, dist.DistError) or (type(error) is RuntimeError and "gloo" in str(error))


def kill_relative(address: str) -> None:
    """Kill a process that does not answer, if it is the parent, a child or a sibling of this process."""
    host, _, number = address.partition(" ")
    if host != socket.gethostname():
        return
    pid = int(number)
    with suppress(OSError):
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        if pid == os.getppid() or parent in (os.getpid(), os.getppid()):
            os.kill(pid, signal.SIGKILL)
