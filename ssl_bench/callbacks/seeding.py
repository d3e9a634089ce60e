"""Random numbers that depend on seed, epoch and rank, and on nothing that happened before."""

import torch
from lightning import Callback, LightningModule, Trainer


class EpochSeed(Callback):
    """Seed torch at the start of every epoch, so that a resumed run draws what the uninterrupted one drew."""

    def __init__(self, seed: int):
        self.seed = seed

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Views and latents of this epoch are drawn from here on."""
        torch.manual_seed((self.seed * 100_003 + trainer.current_epoch) * 1_009 + trainer.global_rank)
