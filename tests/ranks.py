"""A pool of processes that form gloo groups."""

import os
import tempfile
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.multiprocessing import get_context


class Ranks:
    """Processes that each run what they are given, as rank 0..n-1 of one group, a new group for every call.

    Functions are sent by name, so they stand at the top of a module; arguments and results are pickled.
    """

    def __init__(self) -> None:
        self.meetings = Path(tempfile.mkdtemp())
        self.calls = 0
        self.connections: list[Connection] = []
        self.processes: list[BaseProcess] = []

    def __call__(self, function: Callable[..., Any], *arguments: Any, size: int = 2) -> list[Any]:
        """Results of all ranks, in order; an error is raised here with the tracebacks of the ranks that had one."""
        try:
            results = self.call(function, arguments, size)
        except ConnectionError:  # gloo could not connect the processes in time, which depends on the load: try again
            self.kill()
            results = self.call(function, arguments, size)
        errors = [f"rank {rank} of {size}: {error}" for rank, (_, error) in enumerate(results) if error is not None]
        assert not errors, "\n".join(errors)
        return [result for result, _ in results]

    def call(self, function: Callable[..., Any], arguments: tuple[Any, ...], size: int) -> list[tuple[Any, str | None]]:
        while len(self.processes) < size:
            self.start()
        self.calls += 1
        for rank, connection in enumerate(self.connections[:size]):
            connection.send((function, arguments, rank, size, str(self.meetings / str(self.calls))))
        try:
            for connection in self.connections[:size]:
                connection.recv()  # that it is connected
        except EOFError as error:
            raise ConnectionError("a group was not formed") from error
        return [connection.recv() for connection in self.connections[:size]]

    def start(self) -> None:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs,), daemon=True)
        process.start()
        self.connections.append(ours)
        self.processes.append(process)

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
        self.connections.clear()
        self.processes.clear()

    def close(self) -> None:
        for connection in self.connections:
            connection.send(None)
        for process in self.processes:
            process.join(10)


def serve(connection: Connection) -> None:
    torch.set_num_threads(1)
    while (work := connection.recv()) is not None:
        function, arguments, rank, size, meeting = work
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
        # As a launcher does: the same address for all processes of a group.
        os.environ |= {"MASTER_ADDR": meeting, "MASTER_PORT": "1"}
        distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=size)
        connection.send("connected")
        try:
            connection.send((function(*arguments), None))
        except Exception:
            connection.send((None, traceback.format_exc()))
        distributed.destroy_process_group()
