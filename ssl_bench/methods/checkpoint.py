"""Load methods from checkpoints, which contain the class path and the arguments of the method."""

from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentError, ArgumentParser

from ssl_bench.errors import UserError
from ssl_bench.methods.base import Method
from ssl_bench.trust import enforce, refused


def build_method(config: dict[str, Any]) -> Method:
    """Build a method from the class path and arguments that a checkpoint stores; weights are not loaded.

    Raises:
        UserError: the checkpoint names a class that is not trusted.
    """
    enforce()
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Method, "method", required=True)
    try:
        method: Method = parser.instantiate(parser.parse_object({"method": config})).method
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
        UserError: there is no checkpoint, or it was not written by ssl-bench.
    """
    file = Path(path) / "checkpoints" / "last.ckpt" if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise UserError(f"no checkpoint at {file}: give a run folder or a .ckpt file that `ssl-bench fit` wrote")
    checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(checkpoint, dict) or not checkpoint.get("method"):
        raise UserError(f"{file} contains no method: expected a checkpoint that `ssl-bench fit` wrote")
    method = build_method(checkpoint["method"])
    method.load_state_dict(checkpoint["state_dict"])
    return method.eval()
