"""Steps of the methods that have several optimizers: one network's at a time, averaged over parts and ranks."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

from lightning.pytorch.strategies import ParallelStrategy
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer

from ssl_bench.distributed import average_gradients
from ssl_bench.methods.base import Method

PartT = TypeVar("PartT")


def descend(
    method: Method, which: int, loss: Callable[[PartT], dict[str, Tensor]], name: str, parts: Sequence[PartT]
) -> dict[str, Tensor]:
    """One optimizer's step along the mean over parts and ranks of a loss, all other optimizers' parameters frozen.

    Lightning counts the step of the first optimizer only, so that `global_step` counts batches if that one makes one
    step on each.

    Args:
        method: of manual optimisation (``automatic_optimization = False``), in a trainer.
        which: the optimizer's place in what `configure_optimizers` returned.
        loss: a part of the batch to scalar terms by name, means over the part.
        name: the term that is minimised.
        parts: equal parts of the batch, one for the whole of it.

    Returns:
        The terms' means over this rank's parts, without gradients.
    """
    optimizers: Any = method.optimizers()  # of one optimizer Lightning makes no list
    optimizer = optimizers[which] if isinstance(optimizers, list) else optimizers
    strategy = method.trainer.strategy
    # Averaging here and not in DistributedDataParallel, which waits for the gradients of all networks at once.
    quiet = strategy.block_backward_sync() if isinstance(strategy, ParallelStrategy) else nullcontext()
    means: dict[str, Tensor] = {}
    with method.toggled_optimizer(optimizer), quiet:
        optimizer.zero_grad()
        for part in parts:
            terms = loss(part)
            method.manual_backward(terms[name] / len(parts))
            for key, value in terms.items():
                means[key] = means.get(key, 0) + value.detach() / len(parts)
        average_gradients(p for group in optimizer.param_groups for p in group["params"])
        if which == 0:
            optimizer.step()
        else:  # past Lightning's wrapper, which would count it as a step of its own
            strategy.optimizer_step(optimizer.optimizer, closure=lambda: None)
    return means


def scheduled(method: Method, optimizers: list[Optimizer]) -> OptimizerLRScheduler:
    """What `configure_optimizers` returns of several optimizers: them, and the method's schedule of each, if any."""
    return optimizers, [scheduler for o in optimizers if (scheduler := method.make_scheduler(o)) is not None]


def step_schedules(method: Method) -> None:
    """Move every optimizer's learning rate on by a batch."""
    schedulers = method.lr_schedulers() or []
    for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
        scheduler.step()  # type: ignore[call-arg]
