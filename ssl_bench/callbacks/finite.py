"""Stop a run whose loss is no number any more."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from ssl_bench.distributed import all_reduce_min
from ssl_bench.errors import RunError


class StopOnNonFinite(Callback):
    """Stop before a checkpoint holds weights that a non-finite loss, or a term of it, has touched.

    What a step returns stays on its device until steps are looked at together, where losses are logged and at the end
    of an epoch, before the checkpoint: no step waits for it. Ranks stop together.
    """

    def __init__(self) -> None:
        self.steps: list[dict[str, Tensor]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the step's loss and the terms beside it."""
        if outputs is not None:
            self.steps.append({name: value.detach() for name, value in outputs.items() if isinstance(value, Tensor)})
        if len(self.steps) >= max(1, trainer.log_every_n_steps):  # type: ignore[attr-defined]
            self.check(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Runs before the checkpoint is written: Lightning calls checkpoint callbacks last."""
        if self.steps:
            self.check(trainer)
        finite = torch.stack([parameter.isfinite().all() for parameter in pl_module.parameters()]).all()
        if not all_reduce_min(finite.int()):
            step, epoch = trainer.global_step, trainer.current_epoch
            raise RunError(f"weights are not finite at step {step} (epoch {epoch}); {self.help(trainer)}")

    def check(self, trainer: Trainer) -> None:
        """Raise on every rank if any has seen such a value; what is named is the first in the order it was returned."""
        names = [(step, name) for step, terms in enumerate(self.steps) for name in terms]
        finite = torch.stack([value.float() for terms in self.steps for value in terms.values()]).isfinite()
        places = torch.arange(len(finite), device=finite.device)
        first = int(all_reduce_min(torch.where(finite, len(finite), places).min()))
        if first < len(finite):
            ago, name = len(self.steps) - 1 - names[first][0], names[first][1].replace("_", " ")
            which = "the loss" if name == "loss" else f"the loss's {name}"
            step, epoch = trainer.global_step - ago, trainer.current_epoch
            raise RunError(f"{which} is not finite at step {step} (epoch {epoch}); {self.help(trainer)}")
        self.steps.clear()

    def help(self, trainer: Trainer) -> str:
        """What to do about it."""
        automatic = trainer.lightning_module.automatic_optimization
        clip = " or clip gradients with --trainer.gradient_clip_val 1" if automatic else ""
        return f"the last good checkpoint is kept: lower --method.optimizer.lr{clip}"
