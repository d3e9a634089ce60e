"""Progress of a run: in a terminal as a bar, in logs and CI as lines."""

import math
import time
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import WandbLogger

from ssl_bench.data.sampler import BatchSampler

FORMATS = {"loss": ".4f", "lr": ".3g", "images/s": ",.0f"}
"""Formats of the values that are shown."""
NAMES = {"lr": "learning_rate", "images/s": "images_per_s"}
"""Names in wandb of the values that are logged once per epoch."""


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


class LogEveryEpoch(Callback):
    """Log metrics at least once per epoch: `log_every_n_steps` is at most the number of steps of an epoch."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Limit the interval; 0, for no logging, is kept."""
        steps = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        trainer.log_every_n_steps = min(every, max(1, steps))  # type: ignore[attr-defined]


class Progress(Callback):
    """Base of the displays of progress: loss, learning rate and images per second of the epoch."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of a run that resumes in the middle of an epoch."""
        super().on_train_start(trainer, pl_module)
        self.start, self.images = time.perf_counter(), 0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of an epoch."""
        super().on_train_epoch_start(trainer, pl_module)
        self.start, self.images = time.perf_counter(), 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the images of all processes, which have the same number."""
        self.images += len(batch.ids) * trainer.world_size
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log learning rate and speed of the epoch to wandb; the CSV log has one row per step."""
        super().on_train_epoch_end(trainer, pl_module)
        for logger in trainer.loggers if trainer.is_global_zero else ():
            if isinstance(logger, WandbLogger):
                values = {f"progress/{NAMES[n]}": value for n, value in self.values(trainer).items() if n in NAMES}
                logger.log_metrics({"epoch": trainer.current_epoch, **values}, trainer.global_step)

    def values(self, trainer: Trainer) -> dict[str, float]:
        """Loss, learning rate and images per second, as far as they are known, in the order in which they are shown."""
        loss = trainer.callback_metrics.get("train/loss")
        values = {} if loss is None else {"loss": float(loss)}
        if trainer.optimizers:
            values["lr"] = float(trainer.optimizers[0].param_groups[0]["lr"])
        self.seconds = time.perf_counter() - self.start
        return values | {"images/s": self.images / self.seconds}

    def shown(self, trainer: Trainer) -> dict[str, str]:
        """Texts of `values`."""
        return {name: format(value, FORMATS[name]) for name, value in self.values(trainer).items()}


class ProgressBar(Progress, RichProgressBar):
    """Lightning's progress bar with these values; used in a terminal."""

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """The values that the bar shows."""
        return {**self.shown(trainer)}


class EpochLine(Progress):
    """Print a line per epoch with these values and the remaining time; used if there is no terminal."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line, on the first rank only."""
        super().on_train_epoch_end(trainer, pl_module)
        if not trainer.is_global_zero or trainer.max_epochs is None:
            return
        epoch, epochs = trainer.current_epoch + 1, trainer.max_epochs
        values = self.shown(trainer)
        rate = values.pop("images/s")
        left = time.strftime("%H:%M:%S", time.gmtime(self.seconds * (epochs - epoch)))
        named = "".join(f"{name} {value}  " for name, value in values.items())
        print(f"epoch {epoch}/{epochs}  {named}{rate} images/s  {left} remaining", flush=True)
