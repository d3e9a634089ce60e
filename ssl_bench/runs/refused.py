"""Run folders of commands that are refused."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ssl_bench.errors import UserError

RESULTS = ("checkpoints/*", "features/manifest.json", "metrics.json")
"""Files of a run folder that a refused command does not change."""


@contextmanager
def removed_if_refused(folder: Path) -> Iterator[None]:
    """Context manager that removes what the block added to a run folder if it raises a `UserError`.

    A folder that had a configuration before, or has results now, is not changed. The lock of the folder is left to its
    holder.
    """
    new = not (folder / "config.yaml").exists()
    before = set(entries(folder)) if new else set()
    try:
        yield
    except UserError:
        if new and not any(path for pattern in RESULTS for path in folder.glob(pattern)):
            for path in entries(folder):
                if path not in before:
                    with suppress(OSError):  # a folder with an entry that was there before
                        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
            if not before:
                with suppress(OSError):  # the lock is removed by its holder, and the folder with it
                    folder.rmdir()
        raise


def entries(folder: Path) -> list[Path]:
    """Paths of all files and folders inside a folder, except its lock; what is in a folder comes before it."""
    walk = os.walk(folder, topdown=False)
    paths = [Path(parent, name) for parent, folders, files in walk for name in (*files, *folders)]
    return [path for path in paths if path.parent != folder or not path.name.startswith(".lock")]
