"""Find the files of a data set, or download them."""

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from ssl_bench.errors import UserError
from ssl_bench.lock import locked


def data_root(root: str | None) -> Path:
    """Folder of all data sets: ``root``, else ``$SSL_BENCH_DATA``, else ``./data``."""
    return Path(root or os.environ.get("SSL_BENCH_DATA") or "data").expanduser()


def cache_root() -> Path:
    """Folder of all caches: ``$SSL_BENCH_CACHE``, else ``ssl_bench`` in the user's cache folder."""
    if folder := os.environ.get("SSL_BENCH_CACHE"):
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ssl_bench"


def find_files(folders: Sequence[Path], names: Sequence[Sequence[str]]) -> list[Path] | None:
    """Find files that belong together.

    Args:
        folders: folders to search; the first that has all files is used.
        names: possible names of each file; the first that exists is used.

    Returns:
        One path for each file, or None if no folder has all of them.
    """
    for folder in folders:
        found = [next((folder / n for n in either if (folder / n).exists()), None) for either in names]
        if all(found):
            return [path for path in found if path]
    return None


def missing_files(name: str, folders: Sequence[Path], names: Sequence[Sequence[str]], why: str) -> UserError:
    """The error for missing files: which files, the searched folders, and where to put the files."""
    files = ", ".join(" or ".join(either) for either in names)
    places = ", ".join(str(folder) for folder in folders)
    return UserError(f"{name}: found no {files} in {places}; {why}; put them in {folders[0]} or set --data.root")


def find_or_download(
    name: str, folders: Sequence[Path], names: Sequence[Sequence[str]], root: Path, download: Callable[[Path], object]
) -> list[Path]:
    """Find files that belong together, or download them. While another process downloads to `root`, wait for it.

    Args:
        name: name of the data set, for messages.
        folders: as for `find_files`; ``download`` creates the first folder, which must be below ``root``.
        names: as for `find_files`.
        root: folder of all data sets.
        download: function that downloads to a folder with the same layout as ``root``.

    Returns:
        One path for each file.

    Raises:
        UserError: the files do not exist and cannot be downloaded.
    """
    found = find_files(folders, names)
    if found:
        return found
    try:
        with locked(root / ".download.lock", until=lambda: find_files(folders, names) is not None):
            if find_files(folders, names) is None:
                for left in root.glob(".download-*"):  # by a process that was killed
                    shutil.rmtree(left)
                # Into a temporary folder first, so that an interrupted download leaves no files that look like data.
                with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as temporary:
                    download(Path(temporary))
                    for path in Path(temporary).rglob("*"):
                        goal = root / path.relative_to(temporary)
                        goal.mkdir(parents=True, exist_ok=True) if path.is_dir() else path.replace(goal)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise missing_files(name, folders, names, f"the download failed ({reason})") from error
    found = find_files(folders, names)
    if found is None:
        raise missing_files(name, folders, names, "the download did not contain them")
    return found
