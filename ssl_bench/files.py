"""Atomic writes of files, and full disks."""

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ssl_bench.errors import RunError

if TYPE_CHECKING:
    from torch import Tensor

FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Numbers of the errors of a full disk, a used-up quota and a file that is too large for its file system."""
UNFINISHED = re.compile(r"\..+\.[0-9a-f]{16}\.part")
"""Names of the temporary files of `replacing`."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and move it to `path` when the block ends without an error.

    `path` has either its old or its new content after an error, a full disk, a killed process or a loss of power. The
    temporary name is unique across processes and machines. The file is removed after an error; after a kill it remains,
    see `remove_unfinished`.

    Raises:
        RunError: the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with writing(path):
            yield temporary
            flush(temporary)
            temporary.replace(path)
        with suppress(OSError):  # some network file systems cannot flush a folder
            flush(path.parent)
    finally:
        with suppress(OSError):  # the first error is the one to report
            temporary.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise a `RunError` of one line if the disk is full while a block writes a file."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        kept = "its previous content is kept; " if path.is_file() else ""
        raise RunError(
            f"cannot write {path}: {os.strerror(error.errno)}: {kept}free some space, and the same command resumes"
        ) from error


def write_tensors(path: Path, tensors: "dict[str, Tensor]") -> None:
    """Write tensors by name to a safetensors file; see `replacing`."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with replacing(path) as file:
        try:
            save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, file)
        except SafetensorError as error:
            if not (code := re.search(r"os error (\d+)", str(error))):
                raise
            raise OSError(int(code[1]), os.strerror(int(code[1]))) from error


def remove_unfinished(folder: Path) -> None:
    """Remove temporary files that killed processes left in a folder and its subfolders.

    The caller must be the only process that writes to the folder.
    """
    for file in folder.rglob(".*.part"):
        if UNFINISHED.fullmatch(file.name):
            file.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Write the cached content of a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
