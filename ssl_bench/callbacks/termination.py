"""Stop a run on SIGTERM, with a checkpoint in the middle of the epoch."""

import time
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from ssl_bench.distributed import all_reduce_min, world_size
from ssl_bench.termination import sigterm

REACTION = 2.0
"""Number of seconds within which the processes agree to stop, or one step if a step takes longer."""


class StopOnSignal(Callback):
    """Stop all processes after the same step when any of them receives SIGTERM, and write a checkpoint.

    A single process stops after its current step. Several processes agree by an all-reduce of two numbers, about every
    two seconds, after the last step of an epoch and after the last epoch. Steps in between do not communicate and do
    not wait for the device. With accumulated gradients, processes stop only after a step of the optimizer.

    Args:
        checkpoint: path of the checkpoint, which replaces that of the last epoch.

    Raises:
        SIGTERMException: any process received the signal; Lightning raises it when the step has been logged.
    """

    def __init__(self, checkpoint: Path):
        self.checkpoint = checkpoint
        self.interval = 1
        """Number of steps from one agreement to the next, the same on every process."""
        self.steps = 0
        self.start = time.monotonic()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Replace Lightning's handling of SIGTERM.

        Lightning broadcasts in the signal handler, which deadlocks when another process is in another collective. It
        also broadcasts from rank 0 in every step, and then waits for the device.
        """
        connector: Any = trainer._signal_connector
        connector._sigterm_notifier_fn = sigterm
        loop: Any = trainer.fit_loop.epoch_loop
        loop._broadcast_sigterm_tensor = lambda: None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let a signal only set a flag, now that Lightning has registered the handler."""
        sigterm.defer()
        self.start = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop after this step if the processes agree to."""
        self.steps += 1
        last, accumulated = trainer.is_last_batch, (batch_idx + 1) % trainer.accumulate_grad_batches
        if last or (self.steps >= self.interval and not accumulated):
            trainer._signal_connector.received_sigterm = self.agree(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop after the last epoch if a signal was received since its last step."""
        if self.agree(trainer):
            raise SIGTERMException
        sigterm.stop_deferring()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write the checkpoint; at the end of an epoch, it has been written."""
        sigterm.deferred = isinstance(exception, SIGTERMException)
        epochs: Any = trainer.fit_loop.epoch_progress.current
        if sigterm.deferred and epochs.ready > epochs.processed:
            trainer.save_checkpoint(self.checkpoint, weights_only=False)

    def agree(self, trainer: Trainer) -> bool:
        """Whether any process has received the signal; the same on every process."""
        if world_size() == 1:
            return sigterm.received
        seconds = (time.monotonic() - self.start) / max(1, self.steps)
        own = torch.tensor([0.0 if sigterm.received else 1.0, -seconds], device=trainer.strategy.root_device)
        none, slowest = all_reduce_min(own).tolist()
        self.interval = max(1, int(REACTION / max(-slowest, 1e-6)))
        self.steps, self.start = 0, time.monotonic()
        return bool(none == 0)
