"""Lost, failed and missing processes of a command: all others end, each with one line."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

LOST = "ssl-bench: a process was lost; the same command resumes from the last checkpoint\n"
LIMIT = 240
"""Seconds until a test fails. Two processes that import Lightning take a minute on a loaded machine."""

RANK = """
import os, signal, sys, time
from ssl_bench.errors import RunError
from ssl_bench.runs.heartbeats import Limits
from ssl_bench.runs.watch import expect_group, watched

try:
    with watched(Limits(period=0.2, silence={silence}, joining={joining}, grace=2)):
        import torch.distributed as dist

        expect_group(2)
        dist.init_process_group("gloo")
        dist.barrier()
        if dist.get_rank() == {rank}:
            {action}
        {others}
except RunError as error:
    print(f"ssl-bench: {{error}}", file=sys.stderr)
    sys.exit(1)
"""


@contextmanager
def free_port() -> Iterator[tuple[str, socket.socket]]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield str(bound.getsockname()[1]), bound


def start(command: list[str], folder: Path, **environment: str) -> "subprocess.Popen[str]":
    """Start a command as the leader of a process group, so that all of its processes can be killed."""
    return subprocess.Popen(
        command, cwd=folder, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def end(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Exit code, output and errors of a command, after all of its processes have ended."""
    try:
        output, error = process.communicate(timeout=LIMIT)  # ends when the last process has closed the pipes
        return process.returncode, output, error
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def ranks(
    folder: Path, action: str, others: str = "dist.barrier()", rank: int = 1, silence: float = 60,
    joining: float = LIMIT, started: int = 2,
) -> list[tuple[int, str]]:  # fmt: skip
    """Exit codes and errors of two ranks, one of which executes `action` and the other `others`."""
    script = folder / "rank.py"
    script.write_text(RANK.format(action=action, others=others, rank=rank, silence=silence, joining=joining))
    with free_port() as (port, _):
        pass
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    processes = [start([sys.executable, str(script)], folder, RANK=str(rank), **group) for rank in range(started)]
    return [(code, error) for code, _, error in map(end, processes)]


@pytest.mark.parametrize("rank", [0, 1])
def test_the_other_process_ends_when_one_is_killed(tmp_path: Path, rank: int) -> None:
    results = ranks(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)", rank=rank)
    assert results[rank] == (-signal.SIGKILL, "")
    assert results[1 - rank] == (1, LOST)


@pytest.mark.parametrize(("rank", "others"), [(0, "dist.barrier()"), (1, f"time.sleep({LIMIT})")])
def test_the_other_process_prints_the_error_of_the_one_that_failed(tmp_path: Path, rank: int, others: str) -> None:
    results = ranks(tmp_path, "raise MemoryError('out of memory')", others, rank)
    reason = f"rank {rank} of 2: MemoryError: out of memory"
    assert results[1 - rank] == (1, f"ssl-bench: stopped, because another process did: {reason}\n")
    assert results[rank][1].endswith("MemoryError: out of memory\n")


@pytest.mark.parametrize("rank", [0, 1])
def test_a_suspended_process_is_killed_and_the_other_ends(tmp_path: Path, rank: int) -> None:
    results = ranks(tmp_path, "time.sleep(5); os.kill(os.getpid(), signal.SIGSTOP)", rank=rank, silence=8)
    assert results[rank] == (-signal.SIGKILL, "")
    assert results[1 - rank] == (1, LOST)


def test_a_long_computation_and_a_long_wait_end_no_process(tmp_path: Path) -> None:
    assert ranks(tmp_path, "time.sleep(10)", rank=0, silence=8) == [(0, ""), (0, "")]


def test_a_process_that_finishes_first_ends_no_other(tmp_path: Path) -> None:
    assert ranks(tmp_path, "time.sleep(3)", others="pass", silence=60) == [(0, ""), (0, "")]


def test_a_process_ends_when_another_does_not_join_within_the_limit(tmp_path: Path) -> None:
    ((code, error),) = ranks(tmp_path, "pass", joining=2, started=1)
    assert code == 1
    assert "the processes did not all join at 127.0.0.1:" in error
    assert "within 2 s" in error
    assert error.count("\n") == 1


def test_a_process_ends_when_the_process_that_started_it_ends(tmp_path: Path) -> None:
    waiting = (
        "from ssl_bench.runs.heartbeats import Limits\nfrom ssl_bench.runs.watch import watched\nimport time\n"
        "with watched(Limits(grace=1)): time.sleep({})"
    )
    (tmp_path / "child.py").write_text(waiting.format(2 * LIMIT))
    (tmp_path / "parent.py").write_text(
        "import os, subprocess, sys\n"
        "subprocess.Popen([sys.executable, 'child.py'], env=os.environ | "
        "{'LOCAL_RANK': '1', 'SSL_BENCH_LAUNCHER': str(os.getpid())})\n"
    )
    assert end(start([sys.executable, "parent.py"], tmp_path)) == (0, "", LOST)


FIT = ["-m", "ssl_bench.cli", "fit", "--method=simvae", "--data=digits", "--epochs=2000", "--devices=2", "--out=runs",
       "--trainer.accelerator=cpu", "--method.encoder.hidden=[32]", "--method.decoder.hidden=[32]"]  # fmt: skip


def test_a_lost_process_ends_training_with_one_line(tmp_path: Path) -> None:
    fit = start([sys.executable, *FIT], tmp_path)
    assert fit.stdout
    while "epoch 2/" not in (line := fit.stdout.readline()):
        assert line, end(fit)
    (child,) = Path(f"/proc/{fit.pid}/task/{fit.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGKILL)
    code, output, error = end(fit)
    assert code == 1
    assert error.splitlines(keepends=True)[-1] == LOST
    assert not [line for line in error.splitlines()[:-1] if not line.startswith("Initializing distributed")]
    assert all(line.startswith("epoch") for line in output.splitlines())


def test_all_processes_end_with_one_line_when_the_port_is_in_use(tmp_path: Path) -> None:
    with free_port() as (port, bound):
        bound.listen()
        started = time.monotonic()
        code, _, error = end(start([sys.executable, *FIT], tmp_path, MASTER_PORT=port))
        assert time.monotonic() - started < LIMIT
    assert code == 1
    assert f"ssl-bench: port {port} is in use: set MASTER_PORT to a free port\n" in error
    assert "Error" not in error


def test_a_process_ends_also_if_nothing_reads_its_errors() -> None:
    """As after the end of the shell or of the test that has started it."""
    reading, writing = os.pipe()
    os.close(reading)
    script = (
        "import threading, time\nfrom ssl_bench.runs.watch import Limits, Watch\n"
        "threading.Thread(target=Watch(Limits()).end, args=('lost',), daemon=True).start()\ntime.sleep(20)"
    )
    assert subprocess.run([sys.executable, "-c", script], stderr=writing, check=False, timeout=LIMIT).returncode == 1
    os.close(writing)
