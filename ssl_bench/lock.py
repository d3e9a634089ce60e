"""A lock by which one command at a time uses a folder, on local and on network file systems.

The lock is a file with the host and process id of its holder. A thread of the holder refreshes its modification time.
The lock of a killed process is taken over at once on the same machine, where the process can be looked up. On another
machine it is taken over when it has not been refreshed for a time (the lease), by the clock of the waiting process.
filelock's `SoftFileLease` cannot be used: it takes over a lock only if two files can be exchanged in one step, which
NFS does not support.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

from ssl_bench.errors import RunError, UserError
from ssl_bench.files import writing
from ssl_bench.lock_file import Holder, LockFile

LEASE = 120.0
"""Seconds without a refresh after which a lock may be taken over. NFS may hide a refresh for 60 s."""
REFRESHES = 8
"""Number of refreshes per lease."""
POLL = 0.5
"""Seconds between two attempts to take the lock."""
START = 600.0
"""Seconds for which the other processes of a launcher wait until their first process has taken the lock."""


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

    A process that was suspended for longer than the lease may lose its lock; it then exits at once with code 1.

    Args:
        path: path of the lock file. Its folder and the one above are created; at the end, those that are new and empty
            are removed.
        wait: whether to wait for another holder; otherwise an error is raised.
        first: whether to take the lock. The other processes of a launcher wait until their first process has taken it.
        until: returns whether the lock is not needed; then the block is executed without it. It is checked at the start
            and while waiting.
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
        for stale in path.parent.glob(f"{path.name}.*"):  # of a process that was killed in `_remove`
            stale.unlink(missing_ok=True)
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
    """Take the lock, or wait until the first process has taken it; false if `until` returned true before."""
    seen, since, refreshed, reported, parent = LockFile(), time.monotonic(), False, False, os.getppid()
    while not until():
        if first and _create(path, mine):
            return True
        found = LockFile.read(path)
        if found != seen:
            refreshed = found.holder is not None and found.holder == seen.holder
            seen, since = found, time.monotonic()
        age = time.monotonic() - since
        alive = found.holder.is_alive() if found.holder else None
        if not first and found.holder and found.holder.launched(mine) and alive is not False:
            return True
        if first and found.refreshed is not None and (alive is False or (alive is None and age > lease)):
            _remove(path, found, mine)
            continue
        if not wait and (alive or refreshed):
            raise RunError(f"{path.parent} is in use by {found.describe()}: give --wait to wait until it has ended")
        if not first and (os.getppid() != parent or ((found.refreshed is None or alive is False) and age > START)):
            raise RunError(f"{path.parent}: the first process has not locked it")
        if first and found.holder and not reported:
            reason = "waiting" if wait or alive else f"waiting for up to {lease:.0f} s for a sign that it is running"
            print(f"{path.parent} is in use by {found.describe()}: {reason}", file=sys.stderr)
            reported = True
        time.sleep(POLL)
    return False


def _create(path: Path, mine: Holder) -> bool:
    """Create a lock file; false if it exists."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = path.open("x", encoding="utf-8")
        except (FileExistsError, FileNotFoundError):  # the latter if the folder has been removed meanwhile
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


def _remove(path: Path, stale: LockFile, mine: Holder) -> None:
    """Remove the lock file of a process that has ended, unless another process has replaced it meanwhile."""
    if LockFile.read(path) != stale:
        return
    aside = path.with_name(f"{path.name}.{mine.token}")
    with suppress(FileNotFoundError):  # another process has removed it
        path.rename(aside)
        if LockFile.read(aside) == stale:
            aside.unlink()
        else:  # it was replaced after the first read
            aside.replace(path)


def _refresh(path: Path, mine: Holder, stop: Event, interval: float) -> None:
    """Refresh a lock file until `stop` is set; exit if the process has lost the lock."""
    pause = min(1.0, interval)  # soon after the start, because two processes may take over a lock at the same moment
    while not stop.wait(pause):
        pause = interval
        try:
            found = LockFile.read(path)
            if found.refreshed is None and path.parent.is_dir():
                _create(path, mine)
            elif found.holder == mine:
                os.utime(path)
            elif found.holder:
                line = f"ssl-bench: {path.parent} has been taken over by {found.describe()}: this process exits"
                try:
                    print(f"{line}; the same command resumes", file=sys.stderr, flush=True)
                finally:  # also if nothing reads stderr any more
                    os._exit(1)  # nothing may be written to the folder from now on, not even a checkpoint
        except (OSError, RunError):  # the file system does not respond or is full: try again
            continue
