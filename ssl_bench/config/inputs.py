"""Digests of what a run reads besides its data: folders of generated views, other runs and files of weights."""

import hashlib
import json
from pathlib import Path
from typing import Any

from ssl_bench.config.locations import input_paths
from ssl_bench.errors import UserError
from ssl_bench.files import replacing
from ssl_bench.methods.checkpoint import checkpoint_file

FILE = "inputs.json"


def record_inputs(folder: Path, config: dict[str, Any]) -> None:
    """Check the inputs of a run, see `check_inputs`, and write the digests of the new ones to its folder.

    Args:
        folder: the run folder.
        config: resolved configuration of the run.

    Raises:
        UserError: an input has another content than when the run was made.
        OSError: the file cannot be written.
    """
    digests = check_inputs(folder, config)
    if digests != _read(folder):
        with replacing(folder / FILE) as file:
            file.write_text(json.dumps(digests, indent=2) + "\n", encoding="utf-8")


def check_inputs(folder: Path, config: dict[str, Any]) -> dict[str, str]:
    """Check that a run has the inputs with which its folder was made, such as its folder of generated views.

    The hash of a run has only the names of these files and folders, so that they can be moved. Inputs that do not exist
    are not checked: a recorded run does not need them.

    Returns:
        Digests of the inputs by their keys.

    Raises:
        UserError: an input has another content than when the run was made.
    """
    digests = _read(folder)
    for key, path in input_paths(config).items():
        if digests.setdefault(key, found := _digest(path)) != found:
            raise UserError(
                f"{folder} is a run with another content of {key} than {path} has now: restore it, or give the new run "
                "another --names.method"
            )
    return digests


def _read(folder: Path) -> dict[str, str]:
    """The digests in a run folder; empty if there are none.

    Raises:
        UserError: the file is damaged.
    """
    try:
        return dict(json.loads((folder / FILE).read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{folder / FILE} is damaged: delete it, and it is written again") from error


def _digest(path: Path) -> str:
    """First eight hexadecimal digits of the SHA-256 of an input.

    It is that of the checkpoint of a run folder, of the index of a folder of `ssl-bench views`, of the content of
    another file, or of the names and sizes of the files of another folder.

    Raises:
        UserError: the input cannot be read.
    """
    try:
        for file in (checkpoint_file(path), path / "index.json"):
            if file.is_file():
                with file.open("rb") as opened:
                    return hashlib.file_digest(opened, "sha256").hexdigest()[:8]
        files = sorted((str(file.relative_to(path)), file.stat().st_size) for file in path.rglob("*") if file.is_file())
        return hashlib.sha256(json.dumps(files).encode()).hexdigest()[:8]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
