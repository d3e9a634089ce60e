"""Training of several networks in turn, each with its own optimizer and objective."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from lightning.pytorch.strategies import ParallelStrategy
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from ssl_bench.distributed import average_gradients
from ssl_bench.methods.base import Method, OptimizerFactory


@dataclass(frozen=True)
class Loss:
    """The loss of one network on a batch, or on a part of it.

    A subclass may add tensors that later steps need.

    Attributes:
        value: scalar that the network minimises.
        terms: other scalars to log, by name.
    """

    value: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainedNetwork:
    """A network, its optimizer and its objective.

    Attributes:
        network: the network; all of its parameters are trained.
        optimizer: given the parameters, returns the optimizer.
        objective: given the batch or a part of it, returns the loss, which is a mean over the images.
    """

    network: nn.Module
    optimizer: OptimizerFactory
    objective: Callable[[Any], Loss]


class AlternatingMethod(Method):
    """Base of the methods that train several networks in turn.

    A subclass returns its networks from `trained_networks`. Its `training_step` sets `step` to `global_step`, calls
    `step_optimizer` once for each network that makes a step, then calls `step_schedules`. While one network is trained,
    the parameters of the others are frozen. The first network of `trained_networks` must make exactly one step on each
    batch: `global_step` counts the steps of this network, and therefore the batches.
    """

    automatic_optimization = False
    step: int = 0
    """`global_step` at the start of the batch; the step of the first network increments `global_step`."""

    def trained_networks(self) -> dict[str, TrainedNetwork]:
        """Return the networks by name, in the order of their optimizers."""
        raise TypeError(f"{type(self).__name__} must define trained_networks()")

    def is_lazy_step(self, every: int) -> bool:
        """Whether a lazy regulariser, evaluated on every `every`-th batch only, is evaluated on this batch."""
        return self.step % every == 0

    def step_optimizer(
        self, name: str, parts: Sequence[Any], sizes: Sequence[int] = (1,)
    ) -> tuple[dict[str, Tensor], list[Any]]:
        """Make one optimizer step along the mean gradient over the images of all parts and processes.

        Args:
            name: the network's name in `trained_networks`.
            parts: arguments of the objective, one for each part of the batch.
            sizes: number of images of each part; by default there is a single part.

        Returns:
            Means of the terms over the images of this process, and the `Loss` of each part; both without gradients. The
            last term is the loss itself, called ``loss`` for the first network and ``<name>_loss`` for the others.
        """
        networks = self.trained_networks()
        index, objective = list(networks).index(name), networks[name].objective
        optimizers: Any = self.optimizers()  # not a list where there is only one
        optimizer = optimizers[index] if isinstance(optimizers, list) else optimizers
        strategy = self.trainer.strategy
        # DistributedDataParallel would wait for the gradients of all networks; they are averaged below instead.
        unsynchronized = strategy.block_backward_sync() if isinstance(strategy, ParallelStrategy) else nullcontext()
        losses, ratios = [], [sum(sizes) / size for size in sizes]
        with self.toggled_optimizer(optimizer), unsynchronized:
            optimizer.zero_grad()
            for part, ratio in zip(parts, ratios, strict=True):
                loss = objective(part)
                self.manual_backward(loss.value / ratio)
                terms = loss.terms | {f"{name}_loss" if index else "loss": loss.value}
                losses.append(replace(loss, value=loss.value.detach(), terms=detached(terms)))
            average_gradients(p for group in optimizer.param_groups for p in group["params"])
            if index == 0:
                optimizer.step()
            else:  # bypasses Lightning's wrapper, which would increment `global_step`
                strategy.optimizer_step(optimizer.optimizer, closure=lambda: None)
        return mean_terms([loss.terms for loss in losses], ratios), losses

    def step_schedules(self) -> None:
        """Advance every optimizer's learning-rate schedule by one batch."""
        schedulers: Any = self.lr_schedulers() or []
        for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
            scheduler.step()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Make one optimizer for each network, each with the method's schedule."""
        optimizers = [one.optimizer(self.parameter_groups(one.network)) for one in self.trained_networks().values()]
        return optimizers, [scheduler for o in optimizers if (scheduler := self.make_scheduler(o)) is not None]


def detached(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    """The terms without gradients."""
    return {name: value.detach() for name, value in terms.items()}


def mean_terms(parts: Sequence[dict[str, Tensor]], ratios: Sequence[float]) -> dict[str, Tensor]:
    """The mean of every term over the images of a batch, given the ratios of its size to that of each part."""
    means: dict[str, Tensor] = {}
    for terms, ratio in zip(parts, ratios, strict=True):
        for name, value in terms.items():
            means[name] = means.get(name, 0) + value / ratio
    return means
