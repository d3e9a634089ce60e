"""Stop a run whose loss is no number any more."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from ssl_bench.errors import RunError

NEVER = 2**62


class StopWhenNotFinite(Callback):
    """Stop before a checkpoint holds weights that a non-finite loss has touched.

    Every step's loss is looked at on its device; the answer is brought to the host where losses are logged and at
    the end of an epoch, before the checkpoint: no step waits for it. Ranks stop together.
    """

    def __init__(self) -> None:
        self.first_bad: Tensor | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the first step whose loss is not finite."""
        loss = outputs["loss"].detach()
        if self.first_bad is None:
            self.first_bad = torch.full((), NEVER, device=loss.device)
        self.first_bad.clamp_(max=torch.where(loss.isfinite(), NEVER, trainer.global_step))
        if trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self.check(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Runs before the checkpoint is written: Lightning calls checkpoint callbacks last."""
        self.check(trainer)

    def check(self, trainer: Trainer) -> None:
        """Raise on every rank if any has seen such a loss."""
        if self.first_bad is None:
            return
        first = int(trainer.strategy.reduce(self.first_bad, reduce_op="min"))
        if first < NEVER:
            raise RunError(
                f"the loss is not finite at step {first} (epoch {trainer.current_epoch}); the last good checkpoint is "
                "kept: lower --method.optimizer.lr or clip gradients with --trainer.gradient_clip_val 1"
            )
