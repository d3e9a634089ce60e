"""SIGTERM, with which schedulers end a job: the process ends with one line and exit code 1.

Outside of training, the signal raises an exception in the main thread. During training it only sets a flag, so that all
processes can stop after the same step and write a checkpoint (`ssl_bench.callbacks.termination`).
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

GRACE = 10.0
"""Number of seconds after which the process ends at once, if the main thread has not ended by itself. It may wait in a
call that no signal interrupts, such as a collective."""
TRAINING_GRACE = 25.0
"""The same during training, where the main thread writes a checkpoint after a call that takes long. SLURM kills a job
30 seconds after the signal by default."""


class Terminated(BaseException):
    """SIGTERM ends this process. It is no `Exception`, so that no handler of errors catches it.

    Args:
        step: number of training steps in the checkpoint, if all processes have agreed to stop after this step.
    """

    def __init__(self, step: int | None = None) -> None:
        super().__init__("terminated; the same command resumes" + ("" if step is None else f" from step {step}"))
        self.step = step


class Sigterm:
    """The handler of SIGTERM.

    Attributes:
        received: whether a signal was received.
        deferred: whether a signal only sets `received`, instead of raising an exception.
        children: the processes that this one has launched; they receive the signal before the exception is raised.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Set all attributes to those of a process that has not received a signal."""
        self.received = False
        self.deferred = False
        self.children: list[subprocess.Popen[bytes]] = []
        self.ending = threading.Event()

    def __call__(self, signum: int, frame: FrameType | None = None) -> None:
        """Handle a signal; Python calls this in the main thread.

        Raises:
            Terminated: this is the first signal, and it is not deferred.
        """
        first, self.received = not self.received, True
        if self.deferred:
            self.ending.set()
        elif first:
            self.terminate()

    def defer(self) -> None:
        """From now on, a signal only sets `received`."""
        self.received = False
        self.deferred = True

    def stop_deferring(self) -> None:
        """From now on, a signal raises an exception again; so does one that was deferred.

        Raises:
            Terminated: a signal was deferred.
        """
        self.deferred = False
        if self.received:
            self.terminate()

    def terminate(self) -> None:
        """End the processes that this one has launched, and raise the exception.

        Raises:
            Terminated: always.
        """
        self.end_children()
        raise Terminated

    def end_children(self) -> None:
        """Send the signal to the processes that this one has launched."""
        for child in self.children:
            child.terminate()

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Context manager in which signals are handled; outside of the main thread it does nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self.reset()
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        thread = threading.Thread(target=self.watch, args=(reading, self.ending), daemon=True, name="sigterm")
        thread.start()
        descriptor = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        handler = signal.signal(signal.SIGTERM, self)
        try:
            yield
        finally:
            self.deferred = True
            self.ending.set()
            signal.signal(signal.SIGTERM, signal.SIG_DFL if handler is None else handler)
            signal.set_wakeup_fd(descriptor)
            os.close(writing)
            thread.join()
            self.reset()

    def watch(self, reading: int, ending: threading.Event) -> None:
        """End the process if its main thread does not react to a signal.

        Python writes the number of every signal to a pipe at once, whatever the main thread waits for.
        """
        while number := os.read(reading, 1):
            grace = TRAINING_GRACE if self.deferred else GRACE
            if number[0] == signal.SIGTERM and not ending.wait(grace):
                try:
                    self.end_children()
                    report(Terminated())
                finally:  # also if nothing reads stderr any more
                    os._exit(1)
        os.close(reading)


sigterm = Sigterm()
"""The handler of this process."""


def report(reason: Terminated) -> None:
    """Print why the command ends, in the first process of each machine."""
    if os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")) == "0":
        print(f"ssl-bench: {reason}", file=sys.stderr, flush=True)


def restore_default() -> None:
    """Restore the default action of SIGTERM in forked processes, such as workers of a data loader."""
    if signal.getsignal(signal.SIGTERM) is sigterm or sigterm.deferred:
        with suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.set_wakeup_fd(-1)


os.register_at_fork(after_in_child=restore_default)
