"""One process for each device."""

import os

import torch
from lightning import Fabric

from ssl_bench.runs.checks import check_devices


def launch(devices: str, cpu: bool = False) -> Fabric:
    """Start one process for each device; each continues after this call.

    Args:
        devices: number of processes; ``auto`` for all GPUs, or for the processes that a launcher has started.
        cpu: whether to use the CPU even if there is a GPU.

    Raises:
        UserError: see `check_devices`.
    """
    check_devices(devices)
    if devices == "auto":
        devices = os.environ.get("LOCAL_WORLD_SIZE", "auto")
    accelerator = "cuda" if torch.cuda.is_available() and not cpu else "cpu"
    fabric = Fabric(accelerator=accelerator, devices=devices if devices == "auto" else int(devices))
    fabric.launch()
    return fabric
