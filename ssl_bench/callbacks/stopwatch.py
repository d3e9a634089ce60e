"""Training time and number of epochs and images."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning import Callback, LightningModule, Trainer


class Stopwatch(Callback):
    """Record seconds of training, epochs and images up to the last checkpoint, over all sessions of a resumed run."""

    def __init__(self) -> None:
        self.before = 0.0
        self.epochs = 0
        self.images = 0
        """Number of images of the steps of all processes; each view of an image is not counted."""
        self.start = time.perf_counter()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of this session."""
        self.start = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the images of the step."""
        self.images += len(batch.labels) * trainer.world_size

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the epoch, before the checkpoint is written."""
        self.epochs += 1

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out the time of an evaluation."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.start += time.perf_counter() - begin

    def state_dict(self) -> dict[str, Any]:
        """Seconds, epochs and images, for the checkpoint."""
        seconds = self.before + time.perf_counter() - self.start
        return {"seconds": seconds, "epochs": self.epochs, "images": self.images}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore seconds, epochs and images of a resumed run."""
        self.before, self.epochs = state_dict["seconds"], state_dict["epochs"]
        self.images = state_dict.get("images", 0)  # not in checkpoints of earlier versions
