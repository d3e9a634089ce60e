"""How long fitting took and how far it came, interruptions left out."""

import time
from typing import Any

from lightning import Callback, LightningModule, Trainer


class Stopwatch(Callback):
    """Seconds from the start of fitting to the last checkpoint, summed over the sessions of a resumed run; epochs."""

    def __init__(self) -> None:
        self.before = 0.0
        self.epochs = 0
        self.start = time.perf_counter()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start this session's clock."""
        self.start = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the epoch, before the checkpoint is written."""
        self.epochs += 1

    def state_dict(self) -> dict[str, Any]:
        """What the checkpoint keeps."""
        return {"seconds": self.before + time.perf_counter() - self.start, "epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.before, self.epochs = state_dict["seconds"], state_dict["epochs"]
