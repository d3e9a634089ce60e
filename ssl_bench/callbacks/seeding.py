"""Random numbers that depend on seed, epoch and rank alone."""

import torch
from lightning import Callback, LightningModule, Trainer


class EpochSeed(Callback):
    """Seed torch at the start of every epoch: a resumed run has the random numbers of an uninterrupted one.

    Args:
        seed: the seed of the run.
    """

    def __init__(self, seed: int):
        self.seed = seed

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed the views and latents of this epoch."""
        torch.manual_seed((self.seed * 100_003 + trainer.current_epoch) * 1_009 + trainer.global_rank)
