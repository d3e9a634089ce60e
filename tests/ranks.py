"""A pool of processes that form one gloo group."""

import os
import tempfile
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.multiprocessing import get_context


class Ranks:
    """Processes that each run what they are given, as rank 0..n-1 of one group.

    Functions are sent by name, so they stand at the top of a module; arguments and results are pickled.
    """

    def __init__(self, size: int):
        context = get_context("spawn")
        meeting = Path(tempfile.mkdtemp()) / "meeting"
        self.connections, self.processes = [], []
        for rank in range(size):
            ours, theirs = context.Pipe()
            process = context.Process(target=serve, args=(rank, size, str(meeting), theirs), daemon=True)
            process.start()
            self.connections.append(ours)
            self.processes.append(process)

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Results of all ranks, in order; an exception on any rank is raised here with that rank's traceback."""
        for connection in self.connections:
            connection.send((function, arguments))
        results = [connection.recv() for connection in self.connections]
        for rank, (_, error) in enumerate(results):
            assert error is None, f"rank {rank}: {error}"
        return [result for result, _ in results]

    def close(self) -> None:
        for connection in self.connections:
            connection.send(None)
        for process in self.processes:
            process.join(10)


def serve(rank: int, size: int, meeting: str, connection: Connection) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=size)
    while (work := connection.recv()) is not None:
        function, arguments = work
        try:
            connection.send((function(*arguments), None))
        except Exception:
            connection.send((None, traceback.format_exc()))
    distributed.destroy_process_group()
