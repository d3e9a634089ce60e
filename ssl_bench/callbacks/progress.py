"""Progress of a run as one line per epoch, for logs and CI."""

import time
from typing import Any

from lightning import Callback, LightningModule, Trainer


class EpochLine(Callback):
    """Print epoch, loss, images per second and remaining time; used if there is no terminal for a progress bar."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of a run that resumes in the middle of an epoch."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch."""
        self.batches += 1

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of an epoch."""
        self.start, self.batches = time.perf_counter(), 0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line, on the first rank only."""
        if not trainer.is_global_zero or trainer.max_epochs is None:
            return
        seconds = time.perf_counter() - self.start
        batch_size = trainer.train_dataloader.sampler.batch_size  # type: ignore[union-attr]
        images = self.batches * trainer.world_size * batch_size
        loss = trainer.callback_metrics.get("train/loss")
        shown_loss = "" if loss is None else f"  loss {loss:.4f}"
        epoch, epochs = trainer.current_epoch + 1, trainer.max_epochs
        left = time.strftime("%H:%M:%S", time.gmtime(seconds * (epochs - epoch)))
        print(f"epoch {epoch}/{epochs}{shown_loss}  {images / seconds:,.0f} images/s  {left} remaining", flush=True)
