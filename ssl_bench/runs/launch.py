"""One process for each device."""

import torch
from lightning import Fabric

from ssl_bench.runs.checks import check_devices
from ssl_bench.runs.launcher import launched


def launch(devices: str, cpu: bool = False) -> Fabric:
    """Start one process for each device; each continues after this call.

    Args:
        devices: number of processes; ``auto`` for all GPUs, or for the processes that a launcher has started.
        cpu: whether to use the CPU even if there is a GPU.

    Raises:
        UserError: see `check_devices`.
    """
    check_devices(devices)
    accelerator = "cuda" if torch.cuda.is_available() and not cpu else "cpu"
    if started := launched():
        fabric = Fabric(accelerator=accelerator, devices=started.devices, num_nodes=started.num_nodes)
    else:
        fabric = Fabric(accelerator=accelerator, devices=devices if devices == "auto" else int(devices))
    fabric.launch()
    return fabric
