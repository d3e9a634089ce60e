"""Atomic writes of files."""

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

UNFINISHED = re.compile(r"\..+\.[0-9a-f]{16}\.part")
"""Names of the temporary files of `replacing`."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and move it to `path` when the block ends without an error.

    `path` has either its old or its new content after an error, a full disk, a killed process or a loss of power. The
    temporary name is unique across processes and machines. The file is removed after an error; after a kill it remains,
    see `remove_unfinished`.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(path)
        with suppress(OSError):  # some network file systems cannot flush a folder
            _flush(path.parent)
    finally:
        with suppress(OSError):  # the first error is the one to report
            temporary.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Remove temporary files that killed processes left in a folder and its subfolders.

    The caller must be the only process that writes to the folder.
    """
    for file in folder.rglob(".*.part"):
        if UNFINISHED.fullmatch(file.name):
            file.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Write the cached content of a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
