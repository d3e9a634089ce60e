"""Processes that torchrun or SLURM has started; needs neither torch nor Lightning.

Lightning takes part in the process group of the launcher and starts no processes itself. Numbers of devices and nodes
are therefore those of the launcher. The processes that Lightning starts without a launcher have the environment of
neither, and use the numbers of the command line as the first process does.
"""

import os
from pathlib import Path
from typing import NamedTuple

from ssl_bench.config.devices import given_devices
from ssl_bench.config.yaml_file import read_settings
from ssl_bench.errors import UserError

RANKS = ("RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "SLURM_PROCID",
         "SLURM_LOCALID", "SLURM_NODEID", "JSM_NAMESPACE_RANK")  # fmt: skip
"""Environment variables that must be integers, whether or not there is a launcher."""


class Launched(NamedTuple):
    """Processes that a launcher has started.

    Attributes:
        by: name of the launcher.
        devices: number of processes on each node, one for each device.
        num_nodes: number of nodes.
        flag: the launcher's flag for the number of processes on each node.
    """

    by: str
    devices: int
    num_nodes: int
    flag: str


def check_ranks() -> None:
    """Check the ranks and sizes that a launcher sets; Lightning reads them when it is imported.

    Raises:
        UserError: one of them is not an integer of at least 0.
    """
    for name in RANKS:
        if not (value := os.environ.get(name, "0")).isdecimal():
            raise UserError(f"{name} must be an integer of at least 0, got {value!r}: `unset {name}` without launcher")


def launched() -> Launched | None:
    """The processes that a launcher has started; None without a launcher. Detection is that of Lightning.

    Raises:
        UserError: the nodes have different numbers of processes, SLURM was not given their number on each node, a
            variable is not valid, or srun started several processes in an interactive job.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        by, flag = "torchrun", "torchrun --nproc-per-node"
        total, devices = positive("WORLD_SIZE"), positive("LOCAL_WORLD_SIZE")
        nodes = total // devices
    elif "SLURM_NTASKS" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        by, flag = "SLURM", "srun --ntasks-per-node"
        total, nodes = positive("SLURM_NTASKS"), positive("SLURM_NNODES", "1")
        devices = total // nodes
    elif "SLURM_NTASKS" in os.environ and os.environ.get("SLURM_PROCID", "0") != "0":
        raise UserError("Lightning does not use SLURM in jobs named bash or interactive: give srun --job-name NAME")
    else:
        return None
    if devices * nodes != total:
        raise UserError(f"{by} started {total} processes, not the same number on each node: start them by {flag} N")
    if by == "SLURM" and total > 1 and "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise UserError(
            f"SLURM started {total} processes without the option --ntasks-per-node, which Lightning requires: start "
            f"them by {flag}={devices}"
        )
    return Launched(by, devices, nodes, flag)


def positive(name: str, default: str = "") -> int:
    """An environment variable of a launcher.

    Raises:
        UserError: it is not an integer of at least 1.
    """
    value = os.environ.get(name, default)
    if not value.isdecimal() or not int(value):
        raise UserError(f"{name} must be an integer of at least 1 under torchrun or SLURM, got {value!r}")
    return int(value)


def check_launched(devices: str, num_nodes: str | None = None) -> None:
    """Check numbers that are given in flags or files.

    Args:
        devices: number of devices, or ``auto``.
        num_nodes: number of nodes; None if it is not given.

    Raises:
        UserError: `devices` is not valid, a number differs from that of the launcher, or there are several nodes
            without a launcher.
    """
    given, found = given_devices("--devices", devices), launched()
    if found is None:
        if num_nodes not in (None, "1") and "MASTER_ADDR" not in os.environ:
            raise UserError(
                f"--trainer.num_nodes is {num_nodes}, but no launcher has started processes on other nodes: give 1, "
                "or start with torchrun or srun"
            )
        return
    if given not in (None, found.devices):
        processes = "1 process" if found.devices == 1 else f"{found.devices} processes"
        raise UserError(
            f"{found.by} started {processes} on each node, but --devices is {devices}: give "
            f"--devices {found.devices} or leave it out, or start with `{found.flag}={given}`"
        )
    if num_nodes not in (None, str(found.num_nodes)):
        nodes = "1 node" if found.num_nodes == 1 else f"{found.num_nodes} nodes"
        raise UserError(
            f"{found.by} started processes on {nodes}, but --trainer.num_nodes is {num_nodes}: give "
            f"--trainer.num_nodes {found.num_nodes} or leave it out"
        )


def with_launched(arguments: list[str]) -> list[str]:
    """Configuration files and flags, with the launcher's numbers of devices and nodes at the end if none are given.

    Raises:
        UserError: see `check_launched`.
    """
    given = given_values(arguments)
    check_launched(given.get("devices", "auto"), given.get("num_nodes"))
    if (found := launched()) is None:
        return arguments
    all_devices = given_devices("--devices", given.get("devices", "auto")) is None
    flags = [f"--trainer.devices={found.devices}"] if all_devices else []
    return [*arguments, *flags, f"--trainer.num_nodes={found.num_nodes}"]


def given_values(arguments: list[str]) -> dict[str, str]:
    """Values of ``devices`` and ``num_nodes`` in files and flags; later values replace earlier ones.

    Raises:
        UserError: a file cannot be read.
    """
    given: dict[str, str] = {}
    for argument, after in zip(arguments, [*arguments[1:], ""], strict=False):
        name, equals, value = argument.partition("=")
        value = value if equals else after
        if name in ("--trainer.devices", "--trainer.num_nodes"):
            given[name.rpartition(".")[2]] = value
        elif name == "--config" and Path(value).is_file():
            trainer = read_settings(Path(value)).get("trainer")
            if isinstance(trainer, dict):  # else the parser of the configuration refuses it
                given |= {key: str(trainer[key]) for key in ("devices", "num_nodes") if trainer.get(key) is not None}
    return given
