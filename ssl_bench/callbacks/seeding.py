"""Random numbers that depend only on seed, epoch and rank."""

import torch
from lightning import Callback, LightningModule, Trainer


class EpochSeed(Callback):
    """Seed torch at the start of every epoch, so that resumed and uninterrupted runs have the same random numbers.

    Args:
        seed: the seed of the run.
    """

    def __init__(self, seed: int):
        self.seed = seed

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed the views and latents of this epoch."""
        torch.manual_seed((self.seed * 100_003 + trainer.current_epoch) * 1_009 + trainer.global_rank)
