"""Stop a run whose loss is no number any more."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from ssl_bench.distributed import all_reduce_min
from ssl_bench.errors import RunError

HELP = (
    "the last good checkpoint is kept: lower --method.optimizer.lr or clip gradients with --trainer.gradient_clip_val 1"
)


class StopWhenNotFinite(Callback):
    """Stop before a checkpoint holds weights that a non-finite loss has touched.

    Losses stay on their device until they are looked at together, where losses are logged and at the end of an epoch,
    before the checkpoint: no step waits for it. Ranks stop together.
    """

    def __init__(self) -> None:
        self.losses: list[Tensor] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the step's loss."""
        if outputs is not None:
            self.losses.append(outputs["loss"].detach())
        if len(self.losses) >= max(1, trainer.log_every_n_steps):  # type: ignore[attr-defined]
            self.check(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Runs before the checkpoint is written: Lightning calls checkpoint callbacks last."""
        if self.losses:
            self.check(trainer)
        finite = torch.stack([parameter.isfinite().all() for parameter in pl_module.parameters()]).all()
        if not all_reduce_min(finite.int()):
            raise RunError(
                f"weights are not finite at step {trainer.global_step} (epoch {trainer.current_epoch}); {HELP}"
            )

    def check(self, trainer: Trainer) -> None:
        """Raise on every rank if any has seen such a loss."""
        finite = torch.stack(self.losses).isfinite()
        first = int(all_reduce_min(torch.where(finite, len(finite), torch.arange(len(finite)).to(finite.device)).min()))
        if first < len(finite):
            step = trainer.global_step - len(finite) + first + 1
            raise RunError(f"the loss is not finite at step {step} (epoch {trainer.current_epoch}); {HELP}")
        self.losses.clear()
