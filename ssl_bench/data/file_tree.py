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
        """Paths of all files except hidden ones, sorted, so that the order is the same on every machine."""
        if self._archive is not None:
            start = len(self._prefix)
            found = [n[start:] for n in self._archive.namelist() if n.startswith(self._prefix)]
            found = [name for name in found if not name.endswith("/")]
        else:
            found = [
                (Path(folder) / file).relative_to(self.path).as_posix()
                for folder, _, files in os.walk(self.path, followlinks=True)
                for file in files
            ]
        return sorted(n for n in found if not any(part[:1] == "." or part == "__MACOSX" for part in n.split("/")))

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
        return sorted(name for name in found if name[:1] != "." and name != "__MACOSX")

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
