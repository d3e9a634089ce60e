"""Run folders of commands that are refused."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ssl_bench.errors import UserError

RESULTS = ("checkpoints/*", "features/manifest.json", "metrics.json")
"""Files that a refused command does not remove."""


@contextmanager
def removed_if_refused(folder: Path) -> Iterator[None]:
    """Context manager that removes what the block wrote to a new run folder if it raises a `UserError`.

    A folder that had a configuration before, or has results now, is not changed. The lock of the folder is left to its
    holder.
    """
    new = not (folder / "config.yaml").exists()
    try:
        yield
    except UserError:
        if new and not any(path for pattern in RESULTS for path in folder.glob(pattern)):
            for path in (path for path in folder.glob("*") if not path.name.startswith(".lock")):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
            with suppress(OSError):  # the lock is removed by its holder, and the folder with it
                folder.rmdir()
        raise
