"""The file of a lock, and the process that holds the lock."""

import json
import os
import socket
import uuid
from pathlib import Path
from typing import NamedTuple


class Holder(NamedTuple):
    """The process that holds a lock; the content of the lock file.

    Attributes:
        host: host name.
        pid: process id.
        machine: boot id and PID namespace; a process can be looked up only if these are the same. Empty if unknown.
        started: start time in clock ticks since the boot, because process ids are used again.
        launch: job and address of torchrun or SLURM, the same for all of their processes.
        token: random, different for every lock that a process takes.
    """

    host: str
    pid: int
    machine: str
    started: int
    launch: str
    token: str

    @classmethod
    def this_process(cls) -> "Holder":
        """This process, with a new token."""
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
        """Whether another process has the same launcher, or is a child of this one, as with Lightning's launcher.

        Args:
            process: the calling process.
        """
        is_child = process.machine == self.machine and os.getppid() == self.pid
        return is_child or (process.launch == self.launch and not self.launch.isspace())  # blank without a launcher


def _status(pid: int) -> list[bytes]:
    """Fields of /proc/PID/stat after the name of the program; field 0 is the state, field 19 the start time."""
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()


class LockFile(NamedTuple):
    """Content and time of a lock file when it was read.

    Attributes:
        holder: None if there is no file, or if its holder has not written it yet.
        refreshed: modification time in ns, by the clock of the file system; None if there is no file.
    """

    holder: Holder | None = None
    refreshed: int | None = None

    @classmethod
    def read(cls, path: Path) -> "LockFile":
        """Read a lock file. It is opened, because NFS may otherwise return cached attributes."""
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
