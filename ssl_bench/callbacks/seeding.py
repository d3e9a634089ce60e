"""Random numbers that depend only on seed, epoch and rank."""

import sys
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from ssl_bench.distributed import all_gather, world_size


class EpochSeed(Callback):
    """Seed torch at the start of every epoch, so that resumed and uninterrupted runs have the same random numbers.

    A checkpoint in the middle of an epoch has the states of torch's random number generators of every process.

    Args:
        seed: the seed of the run.
    """

    def __init__(self, seed: int):
        self.seed = seed
        self.states: list[Tensor] = []
        """States in the middle of an epoch, one for each process."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the states of a run that resumes in the middle of an epoch, after everything has been set up.

        With another number of processes, the rest of the epoch has other random numbers; this is printed. Lightning has
        restored the state of the data loader, unless a learning-rate schedule created it before the checkpoint was
        read.
        """
        trainer.fit_loop._load_combined_loader_states()
        if self.states and len(self.states) == world_size():
            set_random_state(self.states[trainer.global_rank], trainer.strategy.root_device)
        elif self.states:
            self.on_train_epoch_start(trainer, pl_module)
            if trainer.is_global_zero:
                print(
                    f"resumed in epoch {trainer.current_epoch + 1} with {world_size()} processes instead of "
                    f"{len(self.states)}: its random numbers are not those of the uninterrupted run",
                    file=sys.stderr,
                )
        self.states = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed the views and latents of this epoch."""
        torch.manual_seed((self.seed * 100_003 + trainer.current_epoch) * 1_009 + trainer.global_rank)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Collect the states for the checkpoint of a run that is stopped by SIGTERM."""
        if isinstance(exception, SIGTERMException):
            device = trainer.strategy.root_device
            self.states = list(all_gather(random_state(device).to(device)).cpu())

    def state_dict(self) -> dict[str, Any]:
        """States in the middle of an epoch, for the checkpoint."""
        return {"states": self.states} if self.states else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the states until training starts."""
        self.states = state_dict["states"]


def random_state(device: torch.device) -> Tensor:
    """State of torch's random number generators of the CPU and, if it is a GPU, of a device: uint8 ``(n,)``."""
    states = [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]
    return torch.cat(states)


def set_random_state(state: Tensor, device: torch.device) -> None:
    """Set a state of `random_state`."""
    on_cpu = len(torch.get_rng_state())
    torch.set_rng_state(state[:on_cpu].clone())  # torch crashes on a view that does not start its storage
    if device.type == "cuda" and len(state) > on_cpu:
        torch.cuda.set_rng_state(state[on_cpu:].clone(), device)
