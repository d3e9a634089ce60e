"""Downloads that are resumed, from a local server."""

import hashlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from ssl_bench.data.download import download

CONTENT = bytes(range(256)) * 40
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    sent: list[int]  # the bytes of each answer

    def do_GET(self) -> None:
        start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        body = CONTENT[start:]
        if self.path == "/breaks":
            body = body[: len(body) // 2]
        self.send_response(206)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(body)
        self.sent.append(len(body))

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    Handler.sent = []
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_interrupted_download_is_resumed(address: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(OSError, match="interrupted after 5120 of 10240 bytes"):
        download(f"{address}/breaks", path, MD5)
    assert not path.exists()
    download(f"{address}/whole", path, MD5)
    assert path.read_bytes() == CONTENT
    assert Handler.sent == [5120, 5120]
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_with_a_wrong_checksum_is_removed(address: str, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="checksum"):
        download(f"{address}/whole", tmp_path / "file", "0" * 32)
    assert not list(tmp_path.iterdir())


def test_a_complete_partial_file_needs_no_server(tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT)
    download("http://127.0.0.1:9/nowhere", tmp_path / "file", MD5)
    assert (tmp_path / "file").read_bytes() == CONTENT
