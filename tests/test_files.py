"""Atomic writes: whatever happens, a file has its old or its new content."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from ssl_bench.errors import RunError
from ssl_bench.files import remove_unfinished, replacing
from tests.full_disk import largest_file

NEW = b"new" * 100


@pytest.mark.parametrize("size", [0, 1, 150, len(NEW) - 1])
def test_a_full_disk_keeps_the_old_content_and_leaves_no_temporary_file(size: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with (
        largest_file(size),
        pytest.raises(RunError, match=r"^cannot write .*file: File too large: its previous content is kept; free"),
        replacing(path) as file,
    ):
        file.write_bytes(NEW)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    with replacing(path) as file:
        file.write_bytes(NEW)
    assert path.read_bytes() == NEW


def test_a_module_imported_while_the_disk_is_full_leaves_no_truncated_bytecode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "imported_on_a_full_disk.py"
    module.write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)  # whatever the environment says
    monkeypatch.setattr(sys, "pycache_prefix", None)
    with largest_file(10):
        importlib.import_module(module.stem)
    assert list(tmp_path.iterdir()) == [module]


def test_an_interruption_keeps_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    writer = replacing(path)
    writer.__enter__().write_bytes(NEW)
    writer.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_file_do_not_share_a_temporary_file(tmp_path: Path) -> None:
    """Processes on two machines can have the same process id."""
    path = tmp_path / "file"
    with replacing(path) as first, replacing(path) as second:
        assert first != second
        assert first.parent == second.parent == tmp_path
        first.write_bytes(b"first")
        second.write_bytes(b"second")
    assert path.read_bytes() == b"first"


def test_content_is_on_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a loss of power, a renamed file whose content was not flushed can be empty."""
    events: list[str] = []
    monkeypatch.setattr("os.fsync", lambda descriptor: events.append("flush"))
    monkeypatch.setattr(Path, "replace", lambda self, target: events.append("rename"))
    with replacing(tmp_path / "file") as file:
        file.write_bytes(NEW)
    assert events == ["flush", "rename", "flush"]


def test_the_file_of_a_killed_process_is_removed_and_no_other(tmp_path: Path) -> None:
    killed = f"""
import os, signal
from pathlib import Path
from ssl_bench.files import replacing
with replacing(Path({str(tmp_path)!r}) / "folder" / "file") as file:
    file.write_bytes(b"new")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    (tmp_path / "folder").mkdir()
    subprocess.run([sys.executable, "-c", killed], check=False, timeout=120)
    (unfinished,) = (tmp_path / "folder").iterdir()
    kept = [tmp_path / name for name in ("images.zip.part", ".file.part", "file", ".file.0123456789abcdef.partial")]
    for path in kept:
        path.touch()
    remove_unfinished(tmp_path)
    assert not unfinished.exists()
    assert all(path.exists() for path in kept)
