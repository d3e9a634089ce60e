"""The contract of a method: the base class, and the protocols of optional abilities."""

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from lightning import Callback, LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Generator, Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ssl_bench.data.inputs import CheckInputs
from ssl_bench.data.types import Batch, MultiCropBatch, MultiCropViews, TrainingInputs
from ssl_bench.errors import UserError
from ssl_bench.optim.schedule import Schedule

OptimizerFactory = Callable[[Iterable[Any]], Optimizer]


@runtime_checkable
class Generative(Protocol):
    """A method that can sample images."""

    def sample(self, n: int, generator: Generator | None = None) -> Tensor:
        """Sample n images ``(n, C, H, W)`` in [0, 1]; callers set evaluation mode and disable gradients.

        A method that keeps an average of the generator's weights samples with the averaged weights. It must also use
        BatchNorm statistics of the averaged weights, because those of the trained weights do not fit.

        Args:
            n: number of images.
            generator: random number generator; by default the global generator of the method's device.
        """
        ...


@runtime_checkable
class Latent(Generative, Protocol):
    """A method that maps latents to images: ``sample(n, generator)`` is ``decode(latents(n, generator))``.

    Latents are standard normal. A method with another prior transforms them in `decode`.
    """

    def latents(self, n: int, generator: Generator | None = None) -> Tensor:
        """n standard normal latents ``(n, L)`` on the method's device; `generator` may be on the CPU."""
        ...

    def decode(self, z: Tensor) -> Tensor:
        """Images ``(n, C, H, W)`` in [0, 1] at latents ``(n, L)``, with the same weights as `sample`."""
        ...


@runtime_checkable
class Reconstructive(Protocol):
    """A method that can reconstruct an image from its features."""

    def reconstruct(self, x: Tensor) -> Tensor:
        """Reconstructions of x, same shape, in [0, 1]."""
        ...


@runtime_checkable
class Masking(Protocol):
    """A method that reconstructs images from a part of them."""

    def masked(self, x: Tensor) -> Tensor:
        """The part of images x that `reconstruct` sees, on grey: same shape as x, in [0, 1]."""
        ...


@runtime_checkable
class Layered(Protocol):
    """A method whose encoder has layers that can be scored one by one."""

    def encode_layers(self, x: Tensor) -> list[Tensor]:
        """Features ``(N, d_l)`` of every layer l, the first layer first; x as for `encode`."""
        ...


@runtime_checkable
class NoisyLayered(Protocol):
    """A diffusion model, whose layers encode images with noise of a chosen level."""

    def encode_noisy_layers(self, x: Tensor, t: int) -> list[Tensor]:
        """Features ``(N, d_l)`` of every layer l for images with noise of index t; x as for `encode`.

        Raises:
            UserError: there is no such t.
        """
        ...


class Method(LightningModule):
    """Base class of all methods: a loss, and the encoder that is scored.

    A subclass sets `feature_dim` and defines `encode` and `training_step(batch, batch_idx)`. The batch of a training
    step is a `ssl_bench.data.types.Batch` whose images are views, float ``(J, N, C, H, W)`` on the device.

    Args:
        optimizer: given the parameters, returns the optimizer; None is Adam with learning rate 1e-3. With small
            networks, a fused optimizer makes the whole training step 1.6 times as fast.
        schedule: learning-rate schedule; constant by default.
        decay_all: if True, weight decay also applies to norms and biases, which are all parameters of fewer than 2
            dimensions; if False, it does not.

    Example:
        >>> import ssl_bench, torch
        >>> class MeanColour(ssl_bench.Method):
        ...     def __init__(self, image_shape, **kwargs):
        ...         super().__init__(**kwargs)
        ...         self.feature_dim = image_shape[0]
        ...         self.scale = torch.nn.Parameter(torch.ones(1))
        ...
        ...     def encode(self, x):
        ...         return self.scale * x.mean((2, 3))
        ...
        ...     def training_step(self, batch, batch_idx):
        ...         return (self.encode(batch.images[0]) - 1).square().mean()
        >>> MeanColour((3, 8, 8)).encode(torch.zeros(2, 3, 8, 8)).shape
        torch.Size([2, 3])
    """

    feature_dim: int
    accepts_local_views: bool = False
    """Whether `training_step` accepts a `MultiCropBatch`; otherwise settings with local views are refused."""
    family: str = ""
    """Family of the method, a name in `ssl_bench.results.paper_table.FAMILIES`; for reports and wandb."""
    pretrained: bool = False
    """Whether the initial weights are trained; otherwise tables call a run without epochs untrained."""
    uses_labels: bool = False
    """Whether the training uses labels; tables then say so beside the name of the method."""
    config: dict[str, Any] | None = None
    """Class path and arguments that the method was built from; saved in checkpoints for `load_method`."""
    views: Callable[[Tensor, Tensor], Tensor] | None = None
    """Given images ``(N, C, H, W)`` and their ids ``(N,)`` on the device, returns views ``(J, N, C, H, W)``."""
    inputs: TrainingInputs | None = None
    """Properties of the input of a training step; set before `check_inputs`."""

    def __init__(
        self,
        optimizer: OptimizerFactory | None = None,
        schedule: Schedule | None = None,
        decay_all: bool = False,
    ):
        super().__init__()
        # The default is set here because jsonargparse would pass the arguments of a default in the signature on to
        # another optimizer.
        self.make_optimizer = optimizer or (lambda parameters: torch.optim.Adam(parameters, lr=1e-3))
        self.schedule = schedule or Schedule()
        self.decay_all = decay_all

    def encode(self, x: Tensor) -> Tensor:
        """The features that are scored: normalised ``(N, C, H, W)`` to ``(N, feature_dim)``; deterministic."""
        raise TypeError(f"{type(self).__name__} must define encode(x)")

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move the three tensors directly, which is faster than Lightning's recursive search of the batch."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in batch))

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch | MultiCropBatch:
        """Make the views of a batch, on the device."""
        if self.views is None:
            return batch
        made = batch._replace(images=self.views(batch.images, batch.ids))
        local_views = self.views.local_views(batch.images) if isinstance(self.views, MultiCropViews) else None
        return made if local_views is None else MultiCropBatch(*made, local_views)

    def check_inputs(self, inputs: TrainingInputs) -> None:
        """Refuse data and views that the method cannot be trained on; called once, before the first step.

        A subclass calls ``super().check_inputs(inputs)`` first.

        Raises:
            UserError: one line with what was given, what was expected and the flag to change.
        """
        if inputs.local_views and not self.accepts_local_views:
            raise UserError(
                f"{type(self).__name__} does not use local views: give --views.num_local_views 0 and no "
                "--views.local_recipe"
            )

    def parameter_groups(self, module: nn.Module) -> list[dict[str, Any]]:
        """Parameter groups of a module. Without `decay_all`, norms and biases are a group without weight decay."""
        parameters = [p for p in module.parameters() if p.requires_grad]
        if self.decay_all:
            return [{"params": parameters}]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in parameters if p.ndim > 1]},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]

    def configure_callbacks(self) -> list[Callback]:
        """The checks of data and views before training, see `check_inputs`; under any Trainer."""
        return [CheckInputs()]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One optimizer of all parameters, with its learning-rate schedule, which advances every step."""
        optimizer = self.make_optimizer(self.parameter_groups(self))
        scheduler = self.make_scheduler(optimizer)
        if scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def make_scheduler(self, optimizer: Optimizer) -> LambdaLR | None:
        """The learning-rate schedule of an optimizer over this run, advanced every batch; None if it is constant."""
        if self.schedule == Schedule():
            return None
        return LambdaLR(optimizer, partial(self.schedule.factor, **self.run_length()))

    def run_length(self) -> dict[str, int]:
        """Number of steps of this run and of an epoch, as keyword arguments of `Schedule.factor`."""
        steps = int(self.trainer.estimated_stepping_batches)  # also sets num_training_batches
        batches, accumulated = self.trainer.num_training_batches, self.trainer.accumulate_grad_batches
        return {"steps": steps, "steps_per_epoch": math.ceil(batches / accumulated)}

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip gradients; fused optimizers are supported except in float16, where Lightning refuses them."""
        if gradient_clip_val and str(self.trainer.precision) != "16-mixed":
            clip = nn.utils.clip_grad_value_ if gradient_clip_algorithm == "value" else nn.utils.clip_grad_norm_
            clip(self.parameters(), gradient_clip_val)
        else:
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def log_metrics(self, metrics: dict[str, Tensor]) -> None:
        """Log scalars under ``train/``, averaged over processes, every `log_every_n_steps` steps.

        Lightning's `log` takes 0.7 ms in every step, a tenth of the step of a small network. This method takes no time
        in steps that are not logged. A batch is one step, however many optimizers make a step on it.

        Args:
            metrics: scalars by name.
        """
        if self._trainer is None or not (every := self.trainer.log_every_n_steps):  # type: ignore[attr-defined]
            return
        # The number by which Lightning chooses the batches that loggers get: `global_step` counts steps of optimizers.
        batches = self.trainer.fit_loop.epoch_loop._batches_that_stepped
        if (batches + 1) % every == 0:
            self.log_dict({f"train/{name}": value for name, value in metrics.items()}, sync_dist=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the method's configuration in the checkpoint."""
        checkpoint["method"] = self.config

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another method, or whose weights have other names or shapes."""
        theirs = (checkpoint.get("method") or {}).get("class_path")
        ours = (self.config or {}).get("class_path")
        if theirs != ours:
            raise UserError(f"the checkpoint is of {theirs}, not of {ours}: give the method it was trained with")
        if mismatch := describe_mismatch(self, checkpoint["state_dict"]):
            raise UserError(f"the checkpoint is of another version of {ours}: {mismatch}; delete it to train anew")


def describe_mismatch(module: nn.Module, weights: dict[str, Any]) -> str:
    """One line that says which weights do not fit a module; empty if all fit.

    Args:
        module: the module.
        weights: a state dictionary, in which any value can occur.
    """
    expected = module.state_dict()
    shapes = {name: tuple(value.shape) if isinstance(value, Tensor) else None for name, value in weights.items()}
    wrong = [f"no {name}" for name in expected if name not in weights]
    wrong += [f"{name}, which the method does not have" for name in weights if name not in expected]
    wrong += [
        f"{name} of shape {shapes[name]} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in shapes and shapes[name] != tensor.shape
    ]
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return f"weights do not fit {type(module).__name__} ({'; '.join(wrong[:3])}{more})" if wrong else ""
