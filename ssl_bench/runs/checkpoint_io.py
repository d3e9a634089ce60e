"""How Lightning writes and reads the checkpoint of a run."""

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from ssl_bench.config.agreement import require_agreement
from ssl_bench.config.locations import without_locations
from ssl_bench.files import replacing
from ssl_bench.methods.checkpoint import read_checkpoint


class RunCheckpointIO(TorchCheckpointIO):
    """Write the checkpoint of a run atomically with the run's configuration, and refuse that of another run.

    Lightning writes to the folder of temporary files and moves the result. If that folder is on another file system, a
    full disk destroys the previous checkpoint.

    Args:
        config: the resolved configuration of the run.
    """

    def __init__(self, config: dict[str, Any]):
        self.config = config

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: object = None) -> None:
        """Write a checkpoint; the previous file survives any failure.

        The state of Lightning's callback for checkpoints is left out, because it contains the path of the run folder.
        The configurations of the run and of the method are written without locations (see `without_locations`).

        Raises:
            RunError: the disk is full.
        """
        file = Path(path)
        callbacks = checkpoint.get("callbacks", {}).items()
        kept = {name: state for name, state in callbacks if not name.startswith("ModelCheckpoint")}
        named = without_locations({"method": checkpoint.get("method"), "config": self.config})
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as temporary:
            try:
                with temporary.open("wb") as opened:
                    torch.save({**checkpoint, "callbacks": kept, **named}, opened)
            except RuntimeError as error:  # torch's, at the end of an archive that it could not write
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise

    def load_checkpoint(
        self, path: str | Path, map_location: object = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read the checkpoint of this run to the CPU; no code of the file is run.

        Raises:
            UserError: the file cannot be read, see `read_checkpoint`, or is of another run.
        """
        checkpoint = read_checkpoint(Path(path))
        require_agreement(checkpoint, self.config, Path(path))
        return checkpoint
