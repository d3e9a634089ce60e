"""Progress of a run in lines, for logs and CI."""

import time
from typing import Any

from lightning import Callback, LightningModule, Trainer

from ssl_bench.data.sampler import BatchSampler


def epoch_size(sampler: BatchSampler, steps: int) -> str:
    """One line: the number of training images, the steps of an epoch, and how many images every epoch drops."""
    size, batch, processes = sampler.size, sampler.batch_size, sampler.num_replicas
    used = min(steps * processes * batch, sampler.images)
    of = ("" if used == steps * processes * batch else "up to ") + f"{processes * batch:,}"
    line = f"{size:,} images, {steps:,} {'steps' if steps > 1 else 'step'} of {of} per epoch"
    line += f" ({processes} processes x {batch:,})" if processes > 1 else ""
    if used == size:
        return f"{line}; none dropped"
    line += f"; {size - used:,} ({100 * (size - used) / size:.1f} %) dropped in every epoch"
    usable = steps == len(sampler) and not sampler.last and size - used >= 2 * processes
    return f"{line}: --data.drop_last false uses them" if usable else line


class EpochSize(Callback):
    """Print the number of training images, the steps of an epoch, and how many images every epoch drops."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line, on the first rank only."""
        if trainer.is_global_zero:
            sampler: Any = trainer.train_dataloader.sampler  # type: ignore[union-attr]
            print(epoch_size(sampler, int(trainer.num_training_batches)), flush=True)


class EpochLine(Callback):
    """Print epoch, loss, images per second and remaining time; used if there is no terminal for a progress bar."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of a run that resumes in the middle of an epoch."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the images of all processes, which have the same number."""
        self.images += len(batch.ids) * trainer.world_size

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of an epoch."""
        self.start, self.images = time.perf_counter(), 0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line, on the first rank only."""
        if not trainer.is_global_zero or trainer.max_epochs is None:
            return
        seconds = time.perf_counter() - self.start
        loss = trainer.callback_metrics.get("train/loss")
        shown_loss = "" if loss is None else f"  loss {loss:.4f}"
        epoch, epochs = trainer.current_epoch + 1, trainer.max_epochs
        left = time.strftime("%H:%M:%S", time.gmtime(seconds * (epochs - epoch)))
        print(
            f"epoch {epoch}/{epochs}{shown_loss}  {self.images / seconds:,.0f} images/s  {left} remaining", flush=True
        )
