"""Read checkpoints, and load methods from them: they contain the class path and the arguments of the method.

Files are read with torch's restricted unpickler, which runs no code of the file. Its messages recommend to disable the
restriction, so no message of torch is shown.
"""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentError, ArgumentParser

from ssl_bench.errors import UserError
from ssl_bench.methods.base import Method, describe_mismatch
from ssl_bench.trust import enforce, refused, require_classes


def build_method(config: dict[str, Any]) -> Method:
    """Build a method from the class path and arguments that a checkpoint stores; weights are not loaded.

    Raises:
        UserError: the checkpoint names a class that is not trusted.
    """
    enforce()
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Method, "method", required=True)
    try:
        parsed = parser.parse_object({"method": config})
        require_classes(parsed)
        method: Method = parser.instantiate(parsed).method
    except (ArgumentError, ValueError) as error:
        if denied := refused(str(error)):
            raise UserError(f"the checkpoint {denied}") from error
        raise
    method.config = config
    return method


def load_method(path: str | Path) -> Method:
    """Load the trained method of a checkpoint, in evaluation mode on the CPU.

    Args:
        path: a run folder or a checkpoint file.

    Raises:
        UserError: there is no checkpoint, or `read_checkpoint` refuses it, or its weights do not fit its method.
    """
    file = checkpoint_file(path)
    return method_of(read_checkpoint(file), file)


def method_of(checkpoint: dict[str, Any], file: Path) -> Method:
    """Build the method of a checkpoint and load its weights; see `load_method`.

    Args:
        checkpoint: content of the file, see `read_checkpoint`.
        file: path of the file, for messages.
    """
    try:
        method = build_method(checkpoint["method"])
    except ArgumentError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file}: its method cannot be built: {reason}") from error
    if mismatch := describe_mismatch(method, checkpoint["state_dict"]):
        raise UserError(f"{file}: {mismatch}: give a checkpoint that this version of ssl_bench wrote")
    method.load_state_dict(checkpoint["state_dict"])
    return method.eval()


def checkpoint_file(path: str | Path) -> Path:
    """Path of a checkpoint file, given itself or its run folder."""
    return Path(path) / "checkpoints" / "last.ckpt" if Path(path).is_dir() else Path(path)


def read_checkpoint(file: Path, device: str = "cpu") -> dict[str, Any]:
    """Read a checkpoint of a method; no code of the file is run.

    Args:
        file: path of the file.
        device: device of the tensors; ``meta`` does not load them.

    Raises:
        UserError: the file is missing, empty, damaged, contains other objects than tensors and plain values, or was not
            written by ssl_bench.
    """
    if not file.is_file():
        raise UserError(f"no checkpoint at {file}: give a run folder or a .ckpt file that `ssl-bench fit` wrote")
    checkpoint = read_tensors(file, device, "delete it to train the run anew, or give another checkpoint")
    if not isinstance(checkpoint, dict) or not all(
        isinstance(checkpoint.get(key), dict) and checkpoint[key] for key in ("method", "state_dict")
    ):
        raise UserError(f"{file} contains no method: expected a checkpoint that `ssl-bench fit` wrote")
    return checkpoint


def read_tensors(file: Path, device: str = "cpu", advice: str = "give another file") -> Any:
    """Read a file that torch wrote, of tensors and plain values; no code of the file is run.

    torch does not verify the checksums of the file, so they are verified here.

    Args:
        file: path of the file.
        device: device of the tensors; ``meta`` does not load them.
        advice: what to do if the file cannot be read, for messages.

    Raises:
        UserError: the file cannot be read, is empty, damaged, of another kind, or contains other objects.
    """
    try:
        with file.open("rb") as opened:
            start = opened.read(4)
            if not start:
                raise UserError(f"{file} is empty: {advice}")
            if start != b"PK\x03\x04" and start[:1] != b"\x80":  # a zip archive, or the pickle of older versions
                raise UserError(f"{file} is damaged, or is no file of torch: {advice}")
            if start[:1] == b"P" and zipfile.ZipFile(opened).testzip() is not None:
                raise UserError(f"{file} is damaged, its content does not have the recorded checksums: {advice}")
            opened.seek(0)
            return torch.load(opened, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        damaged = "" if start[:1] == b"P" else "is damaged or "  # a pickle has no checksum
        raise UserError(
            f"{file} {damaged}contains objects other than tensors and plain values, which are refused because loading "
            f"them would run code: {advice}"
        ) from error
    except FileNotFoundError as error:
        raise UserError(f"no file {file}: {advice}") from error
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or 'it is damaged'}: {advice}") from error
    except (UserError, MemoryError):
        raise
    except Exception as error:  # zipfile and torch raise errors of many kinds for damaged files
        raise UserError(f"{file} is damaged, or is no file of torch: {advice}") from error
