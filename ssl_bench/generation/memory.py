"""The number of anchors of a search whose gradients fit into memory."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ssl_bench.distributed import world_size

SHARE = 0.8
"""Part of the free memory that a search uses."""
WORKSPACE = 1.5
"""Peak memory of a step on a CPU, as a multiple of the tensors that are kept for the gradient."""


def fitting(step: Callable[[int], object], most: int, device: torch.device) -> tuple[int, str]:
    """The largest number of anchors that fits, after a first step and trial steps of one and of two.

    Memory is assumed to grow linearly with the number of anchors.

    Args:
        step: carries out a step with the gradient of that number of anchors.
        most: largest number.
        device: device of the step.

    Returns:
        The number, at least 1, and a sentence about it.
    """
    free = free_memory(device)
    if most == 1 or free is None:
        return most, f"{most} anchors at a time"
    step(1)  # allocates what libraries allocate once
    one, two = (peak_memory(lambda n=n: step(n), device) for n in (1, 2))  # type: ignore[misc]
    each = max(two - one, 1.0)
    number = max(1, min(most, int((SHARE * free - max(one - each, 0)) / each)))
    return number, (
        f"{number} anchors at a time (--batch_size {most}): an anchor needs {each / 2**20:,.0f} MiB, "
        f"{free / 2**20:,.0f} MiB are free"
    )


def peak_memory(work: Callable[[], object], device: torch.device) -> float:
    """Additional bytes that work needs at its peak: measured on a GPU, estimated on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return float(torch.cuda.max_memory_allocated(device) - before)
    kept: dict[int, tuple[int, Tensor]] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes(), tensor  # the tensor is kept, so that its address stays its own
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        work()
    return WORKSPACE * sum(size for size, _ in kept.values())


def free_memory(device: torch.device) -> int | None:
    """Bytes of a GPU, or of this machine and control group per process, that can be allocated; None if unknown."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    if device.type != "cpu":
        return None
    free = [int(line.split()[1]) * 1024 for line in _lines("/proc/meminfo") if line.startswith("MemAvailable:")]
    group = Path("/sys/fs/cgroup")
    limit, used = _lines(group / "memory.max"), _lines(group / "memory.current")
    if used and limit[0].isdigit():
        files = [int(line.split()[1]) for line in _lines(group / "memory.stat") if line.startswith("inactive_file ")]
        free.append(int(limit[0]) - int(used[0]) + sum(files))
    return min(free) // world_size() if free else None


def _lines(path: str | Path) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
