"""All collectives of the package. In a single process they do not communicate."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from ssl_bench.errors import RunError, UserError

T = TypeVar("T")


def running() -> bool:
    """Whether this process belongs to a process group."""
    return dist.is_available() and dist.is_initialized()


def world_size() -> int:
    """Number of processes in the group."""
    return dist.get_world_size() if running() else 1


def rank() -> int:
    """Index of this process in the group, from 0."""
    return dist.get_rank() if running() else 0


def share(count: int) -> range:
    """This process's contiguous part of ``range(count)``; parts differ by at most one and may be empty."""
    return range(count * rank() // world_size(), count * (rank() + 1) // world_size())


def barrier() -> None:
    """Wait for all ranks."""
    if running():
        dist.barrier()


def all_reduce_min(x: Tensor) -> Tensor:
    """The elementwise minimum over ranks, as a new tensor without gradient, the same on every rank."""
    smallest = x.detach().clone(
        memory_format=torch.contiguous_format
    )  # NCCL refuses the strides that a plain clone keeps
    if running():
        dist.all_reduce(smallest, dist.ReduceOp.MIN)
    return smallest


def all_reduce_sum(x: Tensor) -> Tensor:
    """The elementwise sum over ranks, as a new tensor without gradient, the same on every rank."""
    total = x.detach().clone(memory_format=torch.contiguous_format)
    if running():
        dist.all_reduce(total)
    return total


def all_gather(x: Tensor) -> Tensor:
    """Stack tensors of equal shape from all W ranks: ``(W, ...)``, the same on every rank, without gradient."""
    x = x.detach().contiguous()
    if not running():
        return x.unsqueeze(0)
    parts = [torch.empty_like(x) for _ in range(world_size())]
    dist.all_gather(parts, x)
    return torch.stack(parts)


def gather_rows(x: Tensor) -> Tensor:
    """Concatenate the rows ``(n_r, ...)`` of all ranks in rank order: ``(sum of n_r, ...)``, without gradient.

    Ranks may have different numbers of rows, including none.
    """
    if not running():
        return x.detach()
    counts = all_gather(torch.tensor(len(x), device=x.device)).tolist()
    padded = x.new_zeros(max(counts), *x.shape[1:])
    padded[: len(x)] = x.detach()
    return torch.cat([part[:n] for part, n in zip(all_gather(padded), counts, strict=True)])


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = len(x)
        return all_gather(x).flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return all_reduce_sum(gradient)[ctx.rows * rank() : ctx.rows * (rank() + 1)]


def gather(x: Tensor) -> Tensor:
    """Concatenate the rows ``(n, ...)`` of all W ranks in order of rank, ``(W n, ...)``; differentiable.

    In the backward pass, the gradients of a row from the losses of all ranks are summed. If every rank computes the
    same loss from the gathered rows, and parameter gradients are then averaged over ranks (by DistributedDataParallel
    or `average_gradients`), the result equals the gradient of that loss in a single process, without a factor of W.
    Every rank must have the same number of rows.
    """
    return _Gather.apply(x) if running() else x


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace gradients by their mean over ranks; all ranks must have gradients for the same parameters."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not running() or not gradients:
        return
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= world_size()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def share_out(jobs: Sequence[Callable[[], T]]) -> list[T]:
    """Distribute jobs and return all results on every rank: rank r runs the jobs i with i mod W = r.

    This function is for computations whose results would change if their sums were split. Each job runs in one process,
    so that its result does not depend on the number of processes. Results are pickled.

    Raises:
        UserError, RunError: the error of the first job that raised one, on every rank.
    """
    mine: list[T | UserError | RunError] = []
    for job in jobs[rank() :: world_size()]:
        try:
            mine.append(job())
        except (UserError, RunError) as error:
            mine.append(error)
    parts: list[Any] = [mine]
    if running():
        parts = [None] * world_size()
        dist.all_gather_object(parts, mine)
    results = [parts[i % world_size()][i // world_size()] for i in range(len(jobs))]
    if errors := [result for result in results if isinstance(result, UserError | RunError)]:
        raise errors[0]
    return results
