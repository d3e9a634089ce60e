"""Stop a run with a non-finite loss."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from ssl_bench.distributed import all_reduce_min
from ssl_bench.errors import RunError


class StopOnNonFinite(Callback):
    """Stop a run after a non-finite loss, term of the loss or weight, before a checkpoint is written.

    The outputs of several steps are kept on their device and checked together, every `log_every_n_steps` steps and at
    the end of an epoch, before its checkpoint. Steps between two checks do not wait for the device. All ranks stop
    together.

    Raises:
        RunError: a loss, a term or a weight is not finite.
    """

    def __init__(self) -> None:
        self.steps: list[dict[str, Tensor]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the loss and the other outputs of the step."""
        values = {name: value.detach() for name, value in (outputs or {}).items() if isinstance(value, Tensor)}
        if values:  # empty with manual optimization if `training_step` returns nothing
            self.steps.append(values)
        if len(self.steps) >= max(1, trainer.log_every_n_steps):  # type: ignore[attr-defined]
            self.check(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check outputs and weights before the checkpoint: Lightning calls checkpoint callbacks last."""
        if self.steps:
            self.check(trainer)
        finite = torch.stack([parameter.isfinite().all() for parameter in pl_module.parameters()]).all()
        if not all_reduce_min(finite.int()):
            step, epoch = trainer.global_step, trainer.current_epoch
            raise RunError(f"non-finite weights at step {step} (epoch {epoch}); {self.advice(trainer)}")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Check outputs and weights before the checkpoint of a run that is stopped by SIGTERM."""
        if isinstance(exception, SIGTERMException):
            self.on_train_epoch_end(trainer, pl_module)

    def check(self, trainer: Trainer) -> None:
        """Raise an error on every rank if any rank has a non-finite output; the message contains the first one."""
        names = [(step, name) for step, terms in enumerate(self.steps) for name in terms]
        finite = torch.stack([value.float() for terms in self.steps for value in terms.values()]).isfinite()
        places = torch.arange(len(finite), device=finite.device)
        first = int(all_reduce_min(torch.where(finite, len(finite), places).min()))
        if first < len(finite):
            ago, name = len(self.steps) - 1 - names[first][0], names[first][1].replace("_", " ")
            which = "loss" if name == "loss" else f"loss ({name})"
            step, epoch = trainer.global_step - ago, trainer.current_epoch
            raise RunError(f"non-finite {which} at step {step} (epoch {epoch}); {self.advice(trainer)}")
        self.steps.clear()

    def advice(self, trainer: Trainer) -> str:
        """Return the end of an error message, which says what the user can do."""
        automatic = trainer.lightning_module.automatic_optimization
        clip = " or clip gradients with --trainer.gradient_clip_val 1" if automatic else ""
        return f"the last finite checkpoint is kept: lower --method.optimizer.lr{clip}"
