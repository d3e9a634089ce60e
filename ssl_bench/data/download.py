"""Downloads that resume after an interruption."""

import hashlib
import http.client
import sys
import urllib.request
from pathlib import Path

from rich.console import Console
from rich.progress import DownloadColumn, Progress

BLOCK = 1 << 20


def download(url: str, path: Path, md5: str) -> None:
    """Download a file. It gets its final name only when it is complete and the checksum is correct.

    An incomplete download is kept as ``<path>.part``; the next call resumes it if the server supports ranges.

    Args:
        url: address of the file.
        path: path of the downloaded file, in an existing folder.
        md5: checksum of the complete file, hexadecimal.

    Raises:
        OSError: the connection failed or was interrupted, or the checksum is wrong.
    """
    part = path.with_name(f"{path.name}.part")
    size = part.stat().st_size if part.exists() else 0
    if size and _md5(part) == md5:  # interrupted just before it was renamed; a server refuses an empty range
        part.rename(path)
        return
    request = urllib.request.Request(url, headers={"Range": f"bytes={size}-"})
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
            raise OSError(f"{url} interrupted after {file.tell()} of {expected} bytes; run again to resume")
    if (found := _md5(part)) != md5:
        part.unlink()
        raise OSError(f"{url} has checksum {found}, expected {md5}")
    part.rename(path)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
