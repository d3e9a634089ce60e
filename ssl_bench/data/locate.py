"""Where the files of a data set are looked for, and how missing ones are fetched."""

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from ssl_bench.errors import UserError


def data_root(root: str | None) -> Path:
    """The folder of all data sets: ``root``, else ``$SSL_BENCH_DATA``, else ``./data``."""
    return Path(root or os.environ.get("SSL_BENCH_DATA") or "data").expanduser()


def find_files(folders: Sequence[Path], names: Sequence[Sequence[str]]) -> list[Path] | None:
    """Finds files that belong together.

    Args:
        folders: Where to look; the first that has all files is taken.
        names: For each file, the names it may have, the first that is there is taken.

    Returns:
        One path for each file, or None if no folder has them all.
    """
    for folder in folders:
        found = [next((folder / n for n in either if (folder / n).exists()), None) for either in names]
        if all(found):
            return [path for path in found if path]
    return None


def missing_files(name: str, folders: Sequence[Path], names: Sequence[Sequence[str]], why: str) -> UserError:
    """The error that says which files were looked for, and where to put them."""
    files = ", ".join(" or ".join(either) for either in names)
    places = ", ".join(str(folder) for folder in folders)
    return UserError(f"{name}: found no {files} in {places}; {why}; put them in {folders[0]} or set --data.root")


def find_or_download(
    name: str, folders: Sequence[Path], names: Sequence[Sequence[str]], root: Path, fetch: Callable[[Path], object]
) -> list[Path]:
    """Finds files that belong together, or downloads them.

    Args:
        name: Of the data set, for messages.
        folders: As for ``find``; ``fetch`` fills the first, which is under ``root``.
        names: As for ``find``.
        root: Folder of all data sets.
        fetch: Downloads into a folder laid out as ``root`` is.

    Returns:
        One path for each file.

    Raises:
        UserError: They are not there and cannot be downloaded.
    """
    found = find_files(folders, names)
    if found:
        return found
    made = not root.exists()
    try:
        root.mkdir(parents=True, exist_ok=True)
        # Beside the root, then renamed: a broken download leaves nothing that looks like data.
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as temporary:
            fetch(Path(temporary))
            for path in Path(temporary).rglob("*"):
                goal = root / path.relative_to(temporary)
                goal.mkdir(parents=True, exist_ok=True) if path.is_dir() else path.replace(goal)
    except (OSError, RuntimeError) as error:
        if made and root.exists() and not any(root.iterdir()):
            root.rmdir()
        reason = " ".join(str(error).split())[:200]
        raise missing_files(name, folders, names, f"the download failed ({reason})") from error
    found = find_files(folders, names)
    if found is None:
        raise missing_files(name, folders, names, "the download did not hold them")
    return found
