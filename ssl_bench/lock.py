"""A lock that lets one command at a time work in a folder, on local and on network file systems.

The lock is a file that names its holder and is refreshed by a thread while it is held. A lock of a killed process is
taken over without delay on the same machine, where the process can be looked up. Elsewhere it is taken over when it has
not been refreshed for a time (the lease), measured by the clock of the waiting process. (filelock's `SoftFileLease`
takes over a lock only where two files can be exchanged in one step, which NFS does not support; there, the lock of a
killed process would remain.)
"""

import json
import os
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

from ssl_bench.errors import RunError, UserError
from ssl_bench.files import writing

LEASE = 120.0
"""Seconds without a refresh after which a lock may be taken over. NFS may hide a refresh for 60 s."""
REFRESHES = 8
"""Refreshes in the time of a lease."""
POLL = 0.5
"""Seconds between two attempts to take the lock."""
START = 600.0
"""Seconds in which the first process must have taken the lock when the other processes of a launcher wait for it."""


class Holder(NamedTuple):
    """The process that holds a lock; the content of the lock file.

    Attributes:
        host: name of its machine.
        pid: its number.
        machine: boot and PID namespace; only processes of the same one can be looked up. Empty if unknown.
        started: its start in clock ticks since the boot, since another process may have the same number later.
        launch: the same for all processes of torchrun or SLURM.
        token: identifies the lock among all locks of the process.
    """

    host: str
    pid: int
    machine: str
    started: int
    launch: str
    token: str

    @classmethod
    def this_process(cls) -> "Holder":
        """A new holder: this process."""
        launch = " ".join(
            os.environ.get(name, "") for name in ("SLURM_JOB_ID", "SLURM_STEP_ID", "MASTER_ADDR", "MASTER_PORT")
        )
        pid = os.getpid()
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
            machine, started = f"{boot} {Path('/proc/self/ns/pid').readlink()}", int(_status(pid)[19])
        except OSError:  # not Linux
            machine, started = "", 0
        return cls(socket.gethostname(), pid, machine, started, launch, uuid.uuid4().hex)

    def is_alive(self) -> bool | None:
        """Whether the process exists; None if this process cannot look it up."""
        if not self.machine or self.machine != Holder.this_process().machine:
            return None
        try:
            os.kill(self.pid, 0)
            status = _status(self.pid)
        except ProcessLookupError:
            return False
        except OSError:  # a process of another user
            return None
        return status[0] not in (b"Z", b"X") and int(status[19]) == self.started

    def launched(self, process: "Holder") -> bool:
        """Whether a process belongs to the same launcher, or was started by this one, as by Lightning's launcher."""
        started = process.machine == self.machine and os.getppid() == self.pid
        return process.launch == self.launch or started


def _status(pid: int) -> list[bytes]:
    """Fields of /proc/PID/stat after the name of the program: the state, ..., and at 19 the start time."""
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()


class LockFile(NamedTuple):
    """What a lock file contained when it was read.

    Attributes:
        holder: None if there is no file, or if its holder has not written it yet.
        refreshed: time of the last refresh by the clock of the file system; None if there is no file.
    """

    holder: Holder | None = None
    refreshed: int | None = None

    @classmethod
    def read(cls, path: Path) -> "LockFile":
        """Read a lock file. It is opened, because NFS may otherwise answer from a cache."""
        try:
            with path.open(encoding="utf-8") as file:
                refreshed = os.fstat(file.fileno()).st_mtime_ns
                try:
                    return cls(Holder(**json.load(file)), refreshed)
                except (ValueError, TypeError):
                    return cls(None, refreshed)
        except FileNotFoundError:
            return cls()

    def describe(self) -> str:
        """The holder, for messages."""
        return f"process {self.holder.pid} on {self.holder.host}" if self.holder else "an unknown process"


@contextmanager
def folder_lock(
    folder: Path, wait: bool = False, *, first: bool = True, until: Callable[[], bool] = lambda: False
) -> Iterator[None]:
    """Hold the lock of a run folder or of a folder of views; see `locked`.

    Raises:
        RunError: another process holds the lock, and `wait` is false; or the disk is full.
        UserError: the folder cannot be written.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / ".lock", wait, first=first, until=until))
        except OSError as error:
            raise UserError(
                f"cannot write to {folder}: {error.strerror}; make it writable, or give another folder with --out"
            ) from error
        yield


@contextmanager
def locked(
    path: Path,
    wait: bool = True,
    *,
    first: bool = True,
    until: Callable[[], bool] = lambda: False,
    lease: float = LEASE,
) -> Iterator[None]:
    """Hold a lock, which no other process can hold at the same time.

    A process that loses its lock, because it was suspended for longer than the lease, ends at once.

    Args:
        path: path of the lock file. Its folder and the one above are made; at the end, those that are new and empty are
            removed.
        wait: whether to wait for another holder, or to be refused.
        first: whether to take the lock. The other processes of a launcher wait until their first process has taken it.
        until: a condition under which the lock is not needed; then the block is executed without the lock. It is also
            checked while waiting.
        lease: see `LEASE`; the same for all processes.

    Raises:
        RunError: another process holds the lock, and `wait` is false; or the disk is full.
        OSError: the lock file cannot be written.
    """
    mine = Holder.this_process()
    new = [folder for folder in (path.parent, path.parent.parent) if first and not folder.exists()]
    try:
        if not (_take(path, mine, wait, first, until, lease) and first):
            yield
            return
        for left in path.parent.glob(f"{path.name}.*"):  # by a process that was killed in `_remove`
            left.unlink(missing_ok=True)
        stop = Event()
        refreshing = Thread(target=_refresh, args=(path, mine, stop, lease / REFRESHES), daemon=True)
        refreshing.start()
        try:
            yield
        finally:
            stop.set()
            refreshing.join()
            with suppress(OSError):
                if LockFile.read(path).holder == mine:
                    path.unlink()
    finally:
        with suppress(OSError):  # a folder is not empty
            for folder in new:
                folder.rmdir()


def _take(path: Path, mine: Holder, wait: bool, first: bool, until: Callable[[], bool], lease: float) -> bool:
    """Take the lock, or wait for the first process to take it; false if `until` was true before."""
    seen, since, refreshed, told, parent = LockFile(), time.monotonic(), False, False, os.getppid()
    while not until():
        if first and _create(path, mine):
            return True
        found = LockFile.read(path)
        if not first and found.holder and found.holder.launched(mine):
            return True
        if found != seen:
            refreshed = found.holder is not None and found.holder == seen.holder
            seen, since = found, time.monotonic()
        age = time.monotonic() - since
        alive = found.holder.is_alive() if found.holder else None
        if first and found.refreshed is not None and (alive is False or (alive is None and age > lease)):
            _remove(path, found, mine)
            continue
        if not wait and (alive or refreshed):
            raise RunError(f"{path.parent} is in use by {found.describe()}: give --wait to wait until it has ended")
        if not first and (os.getppid() != parent or (found.refreshed is None and age > START)):
            raise RunError(f"{path.parent}: the first process has not started to work in it")
        if first and found.holder and not told:
            reason = "waiting" if wait or alive else f"waiting for up to {lease:.0f} s to see whether it is alive"
            print(f"{path.parent} is in use by {found.describe()}: {reason}", file=sys.stderr)
            told = True
        time.sleep(POLL)
    return False


def _create(path: Path, mine: Holder) -> bool:
    """Create a lock file; false if there is one."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = path.open("x", encoding="utf-8")
        except (FileExistsError, FileNotFoundError):  # or the folder has been removed meanwhile
            return False
        try:
            with file:
                json.dump(mine._asdict(), file)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return True


def _remove(path: Path, judged: LockFile, mine: Holder) -> None:
    """Remove the lock file of a process that has ended, unless another process has just replaced it by its own."""
    if LockFile.read(path) != judged:
        return
    aside = path.with_name(f"{path.name}.{mine.token}")
    with suppress(FileNotFoundError):  # another process has removed it
        path.rename(aside)
        if LockFile.read(aside) == judged:
            aside.unlink()
        else:  # between the two lines above
            aside.replace(path)


def _refresh(path: Path, mine: Holder, stop: Event, interval: float) -> None:
    """Refresh a lock file until `stop` is set; end the process if it has lost the lock."""
    pause = min(1.0, interval)  # soon after the start, in case two processes have taken over a lock at the same moment
    while not stop.wait(pause):
        pause = interval
        try:
            found = LockFile.read(path)
            if found.refreshed is None and path.parent.is_dir():
                _create(path, mine)
            elif found.holder == mine:
                os.utime(path)
            elif found.holder:
                line = f"ssl-bench: {path.parent} has been taken over by {found.describe()}: this process ends"
                print(f"{line}; the same command resumes", file=sys.stderr, flush=True)
                os._exit(1)  # nothing may be written to the folder any more, not even a checkpoint
        except (OSError, RunError):  # the file system does not answer, or is full: try again
            continue
