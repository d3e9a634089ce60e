"""The lock of a folder: one holder at a time; the lock of a process that has ended is taken over."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ssl_bench.errors import RunError, UserError
from ssl_bench.lock import folder_lock, locked
from ssl_bench.lock_file import Holder, LockFile
from tests.full_disk import largest_file

LIMIT = 120.0  # seconds, much longer than any of these tests takes
HOLD = """
import sys, time
from pathlib import Path
from ssl_bench.lock import locked
with locked(Path(sys.argv[1]), lease=float(sys.argv[2])):
    print("held", flush=True)
    time.sleep(600)
"""
COUNT = """
import sys, time
from pathlib import Path
from ssl_bench import lock
lock.POLL = 0.001
for _ in range(20):
    with lock.locked(Path(sys.argv[1]) / "lock", lease=5):
        number = Path(sys.argv[1]) / "number"
        count = int(number.read_text())
        time.sleep(0.001)
        number.write_text(str(count + 1))
"""


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + LIMIT
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start processes that hold the lock `lock` in the folder of the test until they are killed."""
    processes = []

    def start(lease: float = 60) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLD, str(tmp_path / "lock"), str(lease)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate(timeout=LIMIT)


def write(path: Path, **changes: object) -> None:
    """Write the lock file of a process of another machine."""
    other = Holder.this_process()._replace(host="elsewhere", pid=7, machine="another boot")
    path.write_text(json.dumps(other._asdict() | changes), encoding="utf-8")


def test_a_second_process_is_refused_with_the_holder_in_one_line(tmp_path: Path, hold: Callable[..., object]) -> None:
    hold()
    holder = LockFile.read(tmp_path / "lock").holder
    assert holder is not None
    with pytest.raises(RunError) as refused, locked(tmp_path / "lock", wait=False, lease=60):
        pass
    message = str(refused.value)
    assert f"{tmp_path} is in use by process {holder.pid} on {holder.host}" in message
    assert "--wait" in message
    assert "\n" not in message


def test_the_lock_is_released_at_the_end_and_after_every_error(tmp_path: Path) -> None:
    def fail(error: type[BaseException]) -> None:
        with folder_lock(tmp_path / "run"):
            (tmp_path / "run" / "file").touch()
            assert (tmp_path / "run" / ".lock").is_file()
            raise error

    for error in (ValueError, SystemExit, KeyboardInterrupt):
        with pytest.raises(error):
            fail(error)
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["file"]


def test_a_new_folder_that_nothing_was_written_to_is_removed(tmp_path: Path) -> None:
    with folder_lock(tmp_path / "run"):
        pass
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    with folder_lock(tmp_path / "run"):
        pass
    assert (tmp_path / "run").is_dir()


@pytest.mark.parametrize("reaped", [True, False])
def test_the_lock_of_a_killed_process_is_taken_over_without_a_lease(
    tmp_path: Path, hold: Callable[..., subprocess.Popen[str]], reaped: bool
) -> None:
    process = hold(lease=1e6)
    process.kill()
    if reaped:
        process.wait()
    else:  # a zombie
        assert eventually(lambda: b") Z" in Path(f"/proc/{process.pid}/stat").read_bytes())
    with locked(tmp_path / "lock", wait=False, lease=1e6):
        holder = LockFile.read(tmp_path / "lock").holder
        assert holder is not None
        assert holder.pid == os.getpid()


def test_a_process_with_the_process_id_of_a_dead_holder_does_not_hold_its_lock(tmp_path: Path) -> None:
    dead = Holder.this_process()
    (tmp_path / "lock").write_text(json.dumps(dead._replace(started=dead.started - 1)._asdict()), encoding="utf-8")
    with locked(tmp_path / "lock", wait=False, lease=1e6):
        pass


def test_the_lock_of_another_machine_is_taken_over_after_the_lease(tmp_path: Path) -> None:
    write(tmp_path / "lock")
    start = time.monotonic()
    with locked(tmp_path / "lock", wait=False, lease=1.5):
        assert time.monotonic() - start >= 1.5


def test_an_empty_lock_file_is_taken_over_after_the_lease(tmp_path: Path) -> None:
    """A process that is killed between creating and writing the file leaves an empty one."""
    (tmp_path / "lock").touch()
    start = time.monotonic()
    with locked(tmp_path / "lock", wait=False, lease=1.5):
        assert time.monotonic() - start >= 1.5


@pytest.mark.parametrize("wait", [False, True])
def test_a_lock_that_is_refreshed_is_not_taken_over(
    tmp_path: Path, hold: Callable[..., subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch, wait: bool
) -> None:
    """The holder is treated as a process of another machine, which cannot be looked up."""
    monkeypatch.setattr(Holder, "is_alive", lambda self: None)
    hold(lease=8)
    until = time.monotonic() + 12
    if wait:
        with locked(tmp_path / "lock", wait=True, lease=8, until=lambda: time.monotonic() > until):
            assert time.monotonic() > until
    else:
        with pytest.raises(RunError, match="is in use"), locked(tmp_path / "lock", wait=False, lease=8):
            pass


def test_a_process_that_has_lost_its_lock_exits(tmp_path: Path, hold: Callable[..., subprocess.Popen[str]]) -> None:
    process = hold(lease=4)
    process.send_signal(signal.SIGSTOP)
    write(tmp_path / "lock")  # another machine has taken over
    process.send_signal(signal.SIGCONT)
    _, error = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    assert error.count("\n") == 1
    assert "has been taken over by process 7 on elsewhere" in error
    assert LockFile.read(tmp_path / "lock").holder is not None  # the lock of the other machine is kept


def test_it_exits_also_if_nothing_reads_its_errors(tmp_path: Path, hold: Callable[..., subprocess.Popen[str]]) -> None:
    process = hold(lease=4)
    assert process.stderr is not None
    process.stderr.close()
    write(tmp_path / "lock")
    assert process.wait(LIMIT) == 1


def test_a_removed_lock_file_is_written_again(tmp_path: Path) -> None:
    with locked(tmp_path / "lock", lease=1):
        (tmp_path / "lock").unlink()
        assert eventually((tmp_path / "lock").is_file)


def test_only_one_of_many_processes_holds_the_lock(tmp_path: Path) -> None:
    """Five processes count to 100. At the start there is the lock file of a killed process."""
    dead = Holder.this_process()
    (tmp_path / "lock").write_text(json.dumps(dead._replace(started=dead.started - 1)._asdict()), encoding="utf-8")
    (tmp_path / "number").write_text("0")
    processes = [subprocess.Popen([sys.executable, "-c", COUNT, str(tmp_path)]) for _ in range(5)]
    assert [process.wait(LIMIT) for process in processes] == [0] * 5
    assert (tmp_path / "number").read_text() == "100"
    assert [path.name for path in tmp_path.iterdir()] == ["number"]


def test_waiting_ends_when_the_lock_is_no_longer_needed(tmp_path: Path, hold: Callable[..., object]) -> None:
    hold()
    checks = iter([False, True])
    with locked(tmp_path / "lock", until=lambda: next(checks)):
        holder = LockFile.read(tmp_path / "lock").holder
        assert holder is not None
        assert holder.pid != os.getpid()


def test_other_processes_of_a_launcher_wait_for_their_own_first_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASTER_PORT", "1234")
    write(tmp_path / "lock", launch="of another job")
    seen = []

    def not_needed() -> bool:
        seen.append(1)
        if len(seen) == 2:  # the first process takes over
            write(tmp_path / "lock", launch=Holder.this_process().launch)
        return False

    with locked(tmp_path / "lock", wait=True, first=False, until=not_needed):
        assert len(seen) == 2
    assert (tmp_path / "lock").is_file()


def test_processes_without_a_launcher_do_not_share_a_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_STEP_ID", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert not Holder.this_process().launched(Holder.this_process())
    monkeypatch.setenv("MASTER_PORT", "1234")
    assert Holder.this_process().launched(Holder.this_process())


def test_other_processes_do_not_accept_a_dead_holder_with_the_same_launcher_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a process of an earlier command, since two commands in turn may have the same address and port."""
    monkeypatch.setenv("MASTER_PORT", "1234")
    first, checks = Holder.this_process(), []
    (tmp_path / "lock").write_text(json.dumps(first._replace(started=first.started - 1)._asdict()), encoding="utf-8")

    def not_needed() -> bool:
        checks.append(1)
        if len(checks) == 2:  # the first process takes over
            (tmp_path / "lock").write_text(json.dumps(first._asdict()), encoding="utf-8")
        return False

    with locked(tmp_path / "lock", wait=True, first=False, until=not_needed):
        assert len(checks) == 2


def test_a_folder_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write to .*--out"), folder_lock(tmp_path / "file" / "run"):
        pass


def test_a_full_disk_ends_the_command_in_one_line_and_leaves_no_lock(tmp_path: Path) -> None:
    with largest_file(10), pytest.raises(RunError, match="free some space") as error, folder_lock(tmp_path / "run"):
        pass
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()
