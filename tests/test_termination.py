"""SIGTERM outside of training: an exception in the main thread, one line and exit code 1."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from ssl_bench import cli
from ssl_bench.termination import Terminated, sigterm


def send() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.01)  # Python calls the handler between two instructions of the main thread


def test_a_command_ends_with_one_line_and_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "run", lambda *_: send())
    assert cli.main(["list"]) == 1
    assert capsys.readouterr().err == "ssl-bench: terminated; the same command resumes\n"


def test_only_the_first_process_of_a_machine_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "run", lambda *_: send())
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert cli.main(["list"]) == 1
    assert capsys.readouterr().err == ""


def test_the_command_restores_the_handler_that_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    received = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        monkeypatch.setattr(cli, "run", lambda *_: 0)
        assert cli.main(["list"]) == 0
        send()
        assert received == [signal.SIGTERM]
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_command_outside_of_the_main_thread_leaves_the_handler_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    monkeypatch.setattr(cli, "run", lambda *_: seen.append(signal.getsignal(signal.SIGTERM)))
    thread = threading.Thread(target=cli.main, args=(["list"],))
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]


def test_a_second_signal_does_not_interrupt_the_handling_of_the_first() -> None:
    with sigterm.handled():
        with pytest.raises(Terminated):
            send()
        send()


def test_a_deferred_signal_raises_the_exception_when_signals_are_not_deferred_any_more() -> None:
    with sigterm.handled():
        sigterm.defer()
        send()
        send()
        assert sigterm.received
        with pytest.raises(Terminated):
            sigterm.stop_deferring()


def test_launched_processes_are_ended_before_the_exception_is_raised() -> None:
    with sigterm.handled():
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        sigterm.children = [child]
        with pytest.raises(Terminated):
            send()
    assert child.wait(60) == -signal.SIGTERM


def test_a_process_whose_main_thread_waits_in_a_collective_ends_all_the_same() -> None:
    source = """
import ctypes, sys
from ssl_bench import cli, termination

def wait(*_):
    print("waiting", flush=True)
    mutex = ctypes.create_string_buffer(64)
    ctypes.CDLL(None).pthread_mutex_lock(mutex)
    ctypes.CDLL(None).pthread_mutex_lock(mutex)  # never returns; no signal interrupts it

termination.GRACE = 0.5
cli.run = wait
sys.exit(cli.main(["list"]))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", source], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.terminate()
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, error) == (1, "ssl-bench: terminated; the same command resumes\n")


def test_a_forked_process_is_ended_by_the_signal_itself() -> None:
    """Such as a worker of a data loader."""
    with sigterm.handled():
        child = os.fork()
        if not child:
            try:
                send()
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        time.sleep(0.01)
    assert os.WTERMSIG(status) == signal.SIGTERM


def test_forks_after_the_end_of_a_command_keep_the_handler_of_the_program() -> None:
    """Such as those of a program that calls `main`."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: os._exit(3))
    try:
        with sigterm.handled():
            pass
        child = os.fork()
        if not child:
            try:
                send()
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert os.WIFEXITED(status)
    assert os.WEXITSTATUS(status) == 3


def test_a_long_call_during_training_is_awaited_longer_than_outside_of_training() -> None:
    source = """
import hashlib
from ssl_bench import termination

termination.GRACE = 0.0
with termination.sigterm.handled():
    termination.sigterm.defer()
    print("waiting", flush=True)
    while not termination.sigterm.received:
        hashlib.pbkdf2_hmac("sha256", b"", b"", 1_000_000)  # no signal interrupts it
    print("received")
"""
    process = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        time.sleep(0.1)
        process.terminate()
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, output) == (0, "received\n")
