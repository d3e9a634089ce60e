"""One process for each device, for the commands that go on from where they are."""

import os

import torch
from lightning import Fabric

from ssl_bench.errors import UserError


def launch(devices: str, cpu: bool = False) -> Fabric:
    """As many processes as there are devices, each going on from here; one where there is one.

    Args:
        devices: a number; or ``auto``, for all GPUs, or as many processes as a launcher has started.
        cpu: whether to leave GPUs alone.
    """
    if devices == "auto":
        devices = os.environ.get("LOCAL_WORLD_SIZE", "auto")
    elif not devices.isdecimal() or not int(devices):
        raise UserError(f"--devices {devices}: give a number of at least 1, or auto")
    accelerator = "cuda" if torch.cuda.is_available() and not cpu else "cpu"
    fabric = Fabric(accelerator=accelerator, devices=devices if devices == "auto" else int(devices))
    fabric.launch()
    return fabric
