"""Files of a folder or of a zip archive behind one interface."""

import os
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from ssl_bench.errors import UserError


class FileTree:
    """Files below a folder, or below a folder inside a zip archive, which is read without unpacking.

    Args:
        path: a folder or a ``.zip`` file.
        archive_folder: folder inside the archive; ignored if `path` is a folder.

    Raises:
        UserError: ``path`` is neither a folder nor a readable archive.
    """

    def __init__(self, path: Path, archive_folder: str = "") -> None:
        self.path = path
        self._prefix = f"{archive_folder}/" if archive_folder else ""
        self._archive: zipfile.ZipFile | None = None
        if path.is_dir():
            return
        try:
            self._archive = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise UserError(f"{path} is neither a folder nor a readable zip archive ({error})") from error

    def names(self) -> list[str]:
        """Paths of all files except hidden ones, sorted, so that the order is the same on every machine.

        Raises:
            UserError: a folder cannot be read.
        """
        if self._archive is not None:
            start = len(self._prefix)
            found = [n[start:] for n in self._archive.namelist() if n.startswith(self._prefix)]
            found = [name for name in found if not name.endswith("/")]
        else:
            found = [path.relative_to(self.path).as_posix() for path in files_below(self.path)]
        return sorted(n for n in found if not any(is_hidden(part) for part in n.split("/")))

    def top_folders(self, prefix: str = "") -> list[str]:
        """Names of the folders directly below ``prefix`` (empty or ending with "/") except hidden ones, sorted.

        Folders without files are included.
        """
        if self._archive is not None:
            start = self._prefix + prefix
            below = [n[len(start) :] for n in self._archive.namelist() if n.startswith(start)]
            found = {name.split("/")[0] for name in below if "/" in name}
        else:
            found = {path.name for path in (self.path / prefix).iterdir() if path.is_dir()}
        return sorted(name for name in found if not is_hidden(name))

    def read(self, name: str) -> bytes:
        """Content of one file; may be called from several threads."""
        if self._archive is not None:
            return self._archive.read(self._prefix + name)
        return (self.path / name).read_bytes()

    def fingerprint(self, names: Iterable[str]) -> Iterator[str]:
        """Names, sizes and modification times of the files, which differ after any change of the files.

        A file may be missing, such as one that a dangling link names.
        """
        paths = [self.path] if self._archive is not None else (self.path / name for name in names)
        yield from names
        for path in paths:
            try:
                status = path.stat()
                yield f"{path.absolute()} {status.st_size} {status.st_mtime_ns}"
            except (OSError, ValueError):  # ValueError: a null byte in the path
                yield f"{path.absolute()} missing"


def is_hidden(name: str) -> bool:
    """Whether a file or folder is not part of the data, by its name."""
    return name.startswith(".") or name in ("__MACOSX", "lost+found")  # the last is at the top of a disk


def files_below(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Paths of all files below a folder except hidden ones; links to folders are followed.

    A link to a folder that contains it is not followed: its files would be listed again and again.

    Args:
        folder: the folder.
        above: real paths of the folders that are being listed.

    Raises:
        UserError: a folder cannot be read.
    """
    if (real := folder.resolve()) in above:
        return
    try:
        with os.scandir(folder) as entries:
            visible = [(Path(entry), entry.is_dir()) for entry in entries if not is_hidden(entry.name)]
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}; make it readable or remove it") from error
    for path, is_folder in visible:
        if is_folder:
            yield from files_below(path, above | {real})
        else:
            yield path
