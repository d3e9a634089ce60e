"""One process for each device."""

import os
import re

import torch
from lightning import Fabric
from lightning.fabric.strategies.launchers.subprocess_script import _ChildProcessObserver
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities import rank_zero_only

from ssl_bench.config.devices import given_devices
from ssl_bench.errors import UserError
from ssl_bench.runs import watch
from ssl_bench.runs.checks import check_devices
from ssl_bench.runs.launcher import launched


def is_first() -> bool:
    """Whether this is the first of all processes, from the environment of a launcher, before they form a group.

    Without a launcher, a rank in the environment is ignored, also by Lightning, so that the process needs the lock.

    Raises:
        UserError: see `launched`.
    """
    if launched() is None and os.environ.get(watch.LAUNCHER) != str(os.getppid()):
        setattr(rank_zero_only, "rank", 0)  # noqa: B010  (mypy does not know the attribute)
    return getattr(rank_zero_only, "rank", 0) == 0


def launch(devices: str, cpu: bool = False) -> Fabric:
    """Start one process for each device; each continues after this call.

    Args:
        devices: number of devices, indices of GPUs, or ``auto`` for all GPUs; the number of processes on the CPU. If a
            launcher has started processes, these are used.
        cpu: whether to use the CPU even if there is a GPU.

    Raises:
        UserError: `devices` is not valid, see `check_devices`, or there are fewer.
    """
    check_devices(devices)
    accelerator = "cuda" if torch.cuda.is_available() and not cpu else "cpu"
    if started := launched():
        fabric = Fabric(accelerator=accelerator, devices=started.devices, num_nodes=started.num_nodes)
    else:
        try:
            fabric = Fabric(accelerator=accelerator, devices=devices_of(devices, accelerator))
        except MisconfigurationException as error:
            raise UserError(f"--devices {devices}: {' '.join(str(error).split())}") from error
    expect_group(fabric.world_size)
    fabric.launch()
    return fabric


def devices_of(devices: str, accelerator: str) -> str | int | list[int]:
    """Valid devices in the form that Lightning expects: ``auto``, a number, or the indices of GPUs."""
    number = given_devices("--devices", devices)
    if accelerator == "cuda" and re.search(r"[\[,]", devices):
        return [int(index) for index in re.findall(r"\d+", devices)]
    return number or "auto"


def expect_group(world_size: int) -> None:
    """Watch over the processes of a group that is about to be formed, in place of Lightning's observer.

    Lightning's observer kills this process when one of its children fails, before the reason is printed.

    Raises:
        UserError: ``MASTER_PORT`` is not a port.
    """

    def observe(observer: _ChildProcessObserver) -> None:
        watch.watch_children(observer._child_processes)

    port = os.environ.get("MASTER_PORT", "0")
    if not port.isdecimal() or int(port) >= 2**16:
        raise UserError(f"MASTER_PORT must be a port from 0 to {2**16 - 1}, got {port!r}")
    setattr(_ChildProcessObserver, "run", observe)  # noqa: B010  (mypy refuses an assignment to a method)
    watch.expect_group(world_size)
