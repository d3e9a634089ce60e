"""Methods from their checkpoints, which say what they are of."""

from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser

from ssl_bench.errors import UserError
from ssl_bench.methods.base import Method


def build_method(config: dict[str, Any]) -> Method:
    """The method of that class path and arguments, as checkpoints hold them, with weights yet to be loaded."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Method, "method", required=True)
    method: Method = parser.instantiate(parser.parse_object({"method": config})).method
    method.config = config
    return method


def load_method(path: str | Path) -> Method:
    """The method of a checkpoint, of the class it was trained as, in eval mode on the CPU.

    Args:
        path: a run folder or a checkpoint file.

    Raises:
        UserError: there is no checkpoint, or it is not one of this suite.
    """
    file = Path(path) / "checkpoints" / "last.ckpt" if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise UserError(f"no checkpoint at {file}: give a run folder or a .ckpt file that `ssl-bench fit` wrote")
    checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(checkpoint, dict) or not checkpoint.get("method"):
        raise UserError(f"{file} does not say what method it is of: it was not written by this suite")
    method = build_method(checkpoint["method"])
    method.load_state_dict(checkpoint["state_dict"])
    return method.eval()
