"""A download that continues where an earlier one broke off."""

import hashlib
import http.client
import sys
import urllib.request
from pathlib import Path

from rich.console import Console
from rich.progress import DownloadColumn, Progress

BLOCK = 1 << 20


def download(url: str, path: Path, md5: str) -> None:
    """Fetches a file, which appears under its name only when it is complete and right.

    What has arrived is kept in ``<path>.part``, and the next call continues it if the server can.

    Args:
        url: Where from.
        path: Where to, in a folder that is there.
        md5: Of the complete file, hexadecimal.

    Raises:
        OSError: There is no connection, it broke off, or the file is not the expected one.
    """
    part = path.with_name(f"{path.name}.part")
    have = part.stat().st_size if part.exists() else 0
    if have and _md5(part) == md5:  # stopped just before it was renamed; a server refuses to send what is beyond
        part.rename(path)
        return
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"})
    columns = (*Progress.get_default_columns(), DownloadColumn())
    with (
        urllib.request.urlopen(request, timeout=30) as response,
        Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress,
        part.open("ab" if response.status == http.client.PARTIAL_CONTENT else "wb") as file,
    ):
        expected = file.tell() + int(response.headers.get("Content-Length", 0))
        task = progress.add_task(path.name, total=expected, completed=file.tell())
        while block := response.read(BLOCK):
            file.write(block)
            progress.advance(task, len(block))
        if file.tell() < expected:
            raise OSError(f"{url} broke off after {file.tell()} of {expected} bytes; run again to continue")
    if (found := _md5(part)) != md5:
        part.unlink()
        raise OSError(f"{url} has checksum {found}, expected {md5}")
    part.rename(path)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
