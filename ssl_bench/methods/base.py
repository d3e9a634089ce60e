"""What every method is to the rest of the suite."""

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Generator, Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ssl_bench.data.types import Batch, TrainingInputs
from ssl_bench.errors import UserError
from ssl_bench.optim.schedule import Schedule

OptimizerFactory = Callable[[Iterable[Any]], Optimizer]


@runtime_checkable
class Generative(Protocol):
    """A method that draws images."""

    def sample(self, n: int, generator: Generator | None = None) -> Tensor:
        """n images ``(n, C, H, W)`` in [0, 1], drawn by `generator`, in evaluation mode, without gradients.

        Where the method keeps an average of the generator's weights it is the average that draws, with BatchNorm
        statistics that belong to it: running statistics of the trained weights do not fit averaged ones.
        """
        ...


@runtime_checkable
class Latent(Generative, Protocol):
    """A method that draws an image from a latent vector: ``sample(n, generator)`` is ``decode(latents(n, generator))``.

    Latents are standard normal; a method with another prior maps them to it in `decode`.
    """

    def latents(self, n: int, generator: Generator | None = None) -> Tensor:
        """n standard normal latents ``(n, L)`` on the method's device, drawn by `generator`, be it on the CPU."""
        ...

    def decode(self, z: Tensor) -> Tensor:
        """Images ``(n, C, H, W)`` in [0, 1] at latents ``(n, L)``, by the weights that `sample` draws with."""
        ...


@runtime_checkable
class Reconstructive(Protocol):
    """A method that returns an image from its features."""

    def reconstruct(self, x: Tensor) -> Tensor:
        """Reconstructions of x, same shape, in [0, 1]."""
        ...


@runtime_checkable
class Layered(Protocol):
    """A method whose encoder has layers that are worth scoring one by one."""

    def encode_layers(self, x: Tensor) -> list[Tensor]:
        """Features of every layer, the first one's first: x as for `encode`, to ``(N, d_l)`` each."""
        ...


class Method(LightningModule):
    """A self-supervised method: what it minimises, and the encoder that is scored.

    A subclass sets `feature_dim` and writes `encode` and `training_step(batch, batch_idx)`. The step's batch is a
    `ssl_bench.data.types.Batch` whose images are the views, float ``(J, N, C, H, W)`` on the device.

    Args:
        optimizer: given the parameters, returns the optimizer; none is Adam with learning rate 1e-3. Give the fused
            one where torch has it: on small networks it is 1.6x the speed of the whole step.
        schedule: how the learning rate moves over the run.
        decay_all: whether weight decay touches norms and biases (all parameters of fewer than 2 dimensions) too.
    """

    feature_dim: int
    config: dict[str, Any] | None = None
    """Class path and arguments this method was built from; saved in checkpoints for `load_method`."""
    views: Callable[[Tensor, Tensor], Tensor] | None = None
    """What makes ``(J, N, C, H, W)`` views of images ``(N, C, H, W)`` and their ids, on the device."""

    def __init__(
        self,
        optimizer: OptimizerFactory | None = None,
        schedule: Schedule | None = None,
        decay_all: bool = False,
    ):
        super().__init__()
        # Not None as a signature default: jsonargparse would leak a default optimizer's arguments into another.
        self.make_optimizer = optimizer or (lambda parameters: torch.optim.Adam(parameters, lr=1e-3))
        self.schedule = schedule or Schedule()
        self.decay_all = decay_all

    def encode(self, x: Tensor) -> Tensor:
        """The features that are scored: ``(N, C, H, W)`` normalised to ``(N, feature_dim)``, deterministic."""
        raise TypeError(f"{type(self).__name__} must define encode(x)")

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move three tensors; Lightning's own search of the batch for tensors takes longer than a small step's Adam."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in batch))

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Make the views where the images are: on the device, a batch at a time."""
        return batch if self.views is None else batch._replace(images=self.views(batch.images, batch.ids))

    def check_inputs(self, inputs: TrainingInputs) -> None:
        """Refuse data and views that the method cannot be trained on; called once, before the first step.

        Raises:
            UserError: of a subclass; what was given, what was expected, and the flag to change.
        """

    def parameter_groups(self, module: nn.Module) -> list[dict[str, Any]]:
        """Parameters of a module, norms and biases apart when they are spared weight decay."""
        parameters = [p for p in module.parameters() if p.requires_grad]
        if self.decay_all:
            return [{"params": parameters}]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in parameters if p.ndim > 1]},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One optimizer over all parameters, its learning rate scheduled per step."""
        optimizer = self.make_optimizer(self.parameter_groups(self))
        scheduler = self.make_scheduler(optimizer)
        if scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def make_scheduler(self, optimizer: Optimizer) -> LambdaLR | None:
        """The schedule over this run, to be stepped after every batch; none where the rate is constant."""
        if self.schedule == Schedule():
            return None
        return LambdaLR(optimizer, partial(self.schedule.factor, **self.run_length()))

    def run_length(self) -> dict[str, int]:
        """Steps of this run and of an epoch, as `Schedule.factor` is told them."""
        steps = int(self.trainer.estimated_stepping_batches)  # which finds out how many batches there are
        batches, accumulated = self.trainer.num_training_batches, self.trainer.accumulate_grad_batches
        return {"steps": steps, "steps_per_epoch": math.ceil(batches / accumulated)}

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip, fused optimizers included: Lightning refuses them, for the sake of float16's scaled gradients."""
        if gradient_clip_val and str(self.trainer.precision) != "16-mixed":
            clip = nn.utils.clip_grad_value_ if gradient_clip_algorithm == "value" else nn.utils.clip_grad_norm_
            clip(self.parameters(), gradient_clip_val)
        else:
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def log_metrics(self, figures: dict[str, Tensor], step: int | None = None) -> None:
        """Log scalars under ``train/``, averaged over ranks, every `log_every_n_steps` steps.

        Lightning's own `log` costs 0.7 ms in every step, a tenth of a small network's; this one costs nothing
        between the steps that are written. `step` is `global_step` before this batch's, for methods that step
        themselves and report afterwards.
        """
        step = self.global_step if step is None else step
        every = 0 if self._trainer is None else self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and (step + 1) % every == 0:
            self.log_dict({f"train/{name}": value for name, value in figures.items()}, sync_dist=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say in the checkpoint what it is a checkpoint of."""
        checkpoint["method"] = self.config

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another method before its weights fail to fit."""
        theirs = (checkpoint.get("method") or {}).get("class_path")
        ours = (self.config or {}).get("class_path")
        if theirs != ours:
            raise UserError(f"the checkpoint is of {theirs}, not of {ours}: give the method it was trained with")
