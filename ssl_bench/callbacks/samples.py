"""Samples of a generative method during training, always from the same latents."""

import sys
from pathlib import Path

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger

from ssl_bench.callbacks.evaluation_mode import evaluation_mode
from ssl_bench.methods.base import Generative
from ssl_bench.plots.primitives import save
from ssl_bench.plots.run import GRID_SIZE, image_grid

MAX_GRIDS = 10
"""Maximum number of grids of one run."""


class SampleGrid(Callback):
    """Save a grid of 64 samples from fixed latents up to ten times in a run, as ``figures/samples_epoch<NNNN>.png``.

    If the number of epochs is unlimited, a grid is saved after every epoch. Methods that sample points have no grids.
    The first rank samples at the end of an epoch, after the hooks of its last batch. Random number states, buffers and
    modes are restored. An error is printed and does not stop the run.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save a grid after selected epochs and after the last, and log it to wandb."""
        epoch, epochs = trainer.current_epoch + 1, max(1, trainer.max_epochs or 1)
        has_grid = epoch == epochs or epoch % -(-epochs // MAX_GRIDS) == 0
        if not has_grid or not trainer.is_global_zero or not isinstance(pl_module, Generative):
            return
        try:
            with evaluation_mode(pl_module):
                images = pl_module.sample(GRID_SIZE**2, torch.Generator().manual_seed(0))
            if images.ndim != 4:
                return
            (self.folder / "figures").mkdir(exist_ok=True)
            file = self.folder / "figures" / f"samples_epoch{epoch:04d}.png"
            path = save(image_grid(images), file, f"{self.folder.name}, epoch {epoch}")
            for logger in trainer.loggers:
                if isinstance(logger, WandbLogger):
                    logger.log_image("samples", [str(path)], step=trainer.global_step)
        except Exception as error:
            print(f"samples of epoch {epoch}: {type(error).__name__}: {error}", file=sys.stderr)
