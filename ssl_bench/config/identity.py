"""Names, hashes and folders that identify a run, its data, its encoder and its protocols' settings."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn


def digest(value: object) -> str:
    """First eight hexadecimal digits of the SHA-256 of a JSON value; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


def config_hash(config: dict[str, Any], *, seed: bool = True) -> str:
    """Hash of the settings that determine a run's result.

    The keys ``names`` and ``reference`` are excluded. The root of a data set is included as an absolute path.
    The keys ``curve``, ``data.fit_images`` and ``views.generated`` are included only if they are set.

    Args:
        config: a resolved configuration, see `ssl_bench.config.resolve.to_dict`.
        seed: whether to include the seed.
    """
    left_out = {"reference", "names"} | (set() if seed else {"seed"})
    left_out |= set() if config.get("curve", {}).get("every") else {"curve"}
    counted = {key: value for key, value in config.items() if key not in left_out}
    counted["views"] = {key: value for key, value in config["views"].items() if value or "generated" not in key}
    arguments = dict(config["data"].get("init_args", {}))
    if arguments.get("root"):
        arguments["root"] = str(Path(arguments["root"]).resolve())
    if not arguments.get("fit_images"):
        arguments.pop("fit_images", None)
    if "init_args" in config["data"]:
        counted["data"] = {**config["data"], "init_args": arguments}
    return digest(counted)


def data_hash(config: dict[str, Any]) -> str:
    """Hash of what determines the images in evaluation: the data set, its root and the recipe of the views."""
    return digest([config["data"], config["views"]["recipe"]])


def encoder_hash(method: nn.Module, config: dict[str, Any]) -> str:
    """SHA-256 of weights, data, views and precision. Encoders with equal hashes have equal features."""
    sha = hashlib.sha256(json.dumps([config["data"], config["views"], config["trainer"]["precision"]]).encode())
    for name, tensor in method.state_dict().items():
        sha.update(name.encode() + tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def settings_hash(protocol: object) -> str:
    """Hash of the settings of a protocol, computed from its ``repr``."""
    return hashlib.sha256(repr(protocol).encode()).hexdigest()[:8]


def names(config: dict[str, Any]) -> tuple[str, str]:
    """Names of the method (with its variant) and of the data set, as in the run folder, in tables and in wandb."""
    method, data = (
        config["names"][kind] or config[kind]["class_path"].rpartition(".")[2] for kind in ("method", "data")
    )
    return method, data


def run_folder(config: dict[str, Any], out: Path) -> Path:
    """Folder of a run, ``OUT/<method>-<data>-s<seed>-<hash>``. Each configuration has its own folder."""
    return out / f"{'-'.join(names(config))}-s{config['seed']}-{config_hash(config)}"
