"""What a generative method draws as it learns: the same latents again and again."""

import sys
from pathlib import Path

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger

from ssl_bench.callbacks.evaluation_mode import evaluation_mode
from ssl_bench.methods.base import Generative
from ssl_bench.plots.primitives import save
from ssl_bench.plots.run import GRID_SIZE, image_grid

GRIDS = 10
"""Grids that a run leaves, at most."""


class SampleGrid(Callback):
    """Draw 64 samples from fixed noise at most ten times in a run, ``figures/samples_epoch<NNNN>.png``; not of points.

    A run without a last epoch has one of every epoch. The first rank draws at the end of an epoch, after the hooks that
    follow its last batch; the run's random numbers and what is in training mode stay as they are. A grid that cannot
    be drawn is said so, and stops no run.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw if it is time to, and show it in wandb too."""
        epoch, epochs = trainer.current_epoch + 1, max(1, trainer.max_epochs or 1)
        due = epoch == epochs or epoch % -(-epochs // GRIDS) == 0
        if not due or not trainer.is_global_zero or not isinstance(pl_module, Generative):
            return
        try:
            with evaluation_mode(pl_module):
                images = pl_module.sample(GRID_SIZE**2, torch.Generator().manual_seed(0))
            if images.ndim != 4:
                return
            (self.folder / "figures").mkdir(exist_ok=True)
            path = save(image_grid(images), self.folder / "figures" / f"samples_epoch{epoch:04d}.png")
            for logger in trainer.loggers:
                if isinstance(logger, WandbLogger):
                    logger.log_image("samples", [str(path)], step=trainer.global_step)
        except Exception as error:
            print(f"samples of epoch {epoch}: {type(error).__name__}: {error}", file=sys.stderr)
