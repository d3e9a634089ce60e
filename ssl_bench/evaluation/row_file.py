"""A safetensors file that several processes fill row by row; safetensors itself writes only whole tensors."""

import errno
import json
import os
import struct
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

from ssl_bench.distributed import barrier, rank
from ssl_bench.files import writing

DTYPES = {torch.float32: "F32", torch.int64: "I64"}


class RowFile:
    """Context manager that creates the file at its full size and lets every process write its rows.

    Rows are written by position rather than through a shared memory map: on a network file system, two machines that
    map the same page would overwrite each other's rows. The file has the suffix ``.partial`` until the context exits.
    After an error it is removed.

    Args:
        path: path of the file, which is replaced if it exists.
        tensors: for each name, the type and shape of a tensor to fill row by row, or a whole tensor to write at once.
    """

    def __init__(self, path: Path, tensors: dict[str, tuple[torch.dtype, tuple[int, ...]] | Tensor]) -> None:
        self.path, self.partial = path, path.with_suffix(".partial")
        header, self.start, self.row_bytes, position = {}, {}, {}, 0
        for name, tensor in tensors.items():
            dtype, shape = (tensor.dtype, tuple(tensor.shape)) if isinstance(tensor, Tensor) else tensor
            self.row_bytes[name] = dtype.itemsize * torch.Size(shape[1:]).numel()
            end = position + shape[0] * self.row_bytes[name]
            header[name] = {"dtype": DTYPES[dtype], "shape": shape, "data_offsets": [position, end]}
            self.start[name], position = position, end
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)  # the format requires tensors to begin at a multiple of 8
        self.start = {name: 8 + len(text) + start for name, start in self.start.items()}
        try:
            if rank() == 0:
                # A process that is still running after its run was killed may write to the old file.
                self.partial.unlink(missing_ok=True)
                with writing(path), self.partial.open("xb") as file:
                    file.write(struct.pack("<Q", len(text)) + text)
                    file.truncate(8 + len(text) + position)
            barrier()
            self.file = self.partial.open("r+b", buffering=0)
            for name, tensor in tensors.items():
                if isinstance(tensor, Tensor) and rank() == 0:
                    self.write(name, torch.arange(len(tensor)), tensor)
        except BaseException:
            self._remove_partial()
            raise

    def write(self, name: str, ids: Tensor, rows: Tensor) -> None:
        """Write rows ``(n, ...)`` to positions ``ids`` ``(n,)``; if ids repeat, one of their rows is kept.

        Raises:
            RunError: the disk is full.
        """
        ids, order = ids.sort()
        rows = rows[order].contiguous()
        runs = torch.tensor_split(torch.arange(len(ids)), (ids.diff() != 1).nonzero().squeeze(1) + 1)
        for run in runs:
            if len(run):
                position = self.start[name] + int(ids[run[0]]) * self.row_bytes[name]
                part = rows[run[0] : run[-1] + 1]
                with writing(self.path):
                    if os.pwrite(self.file.fileno(), part.numpy().data, position) < part.nbytes:
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def __enter__(self) -> "RowFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if error is None:
                with writing(self.path):
                    os.fsync(self.file.fileno())
                barrier()
                if rank() == 0:
                    self.partial.replace(self.path)
        finally:
            self.file.close()
            self._remove_partial()

    def _remove_partial(self) -> None:
        if rank() == 0:
            self.partial.unlink(missing_ok=True)
