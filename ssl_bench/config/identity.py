"""Names, hashes and folders that identify a run, its data, its encoder and the settings it is scored by."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn


def digest(value: object) -> str:
    """Eight hexadecimal digits of SHA-256 of a value that JSON can hold; keys of dicts are sorted."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


def config_hash(config: dict[str, Any], *, seed: bool = True) -> str:
    """Hash of what decides a run's result: not where it is written, nor what it or a paper calls it.

    A root that is given counts, since for folders and parquet files it is the data set; by its absolute path. A curve,
    a part of the images and generated views count where there are any.

    Args:
        config: a resolved configuration, see `ssl_bench.config.resolve.plain`.
        seed: whether the seed counts.
    """
    left_out = {"out", "reference", "names"} | (set() if seed else {"seed"})
    left_out |= set() if config.get("curve", {}).get("every") else {"curve"}
    decisive = {key: value for key, value in config.items() if key not in left_out}
    decisive["views"] = {key: value for key, value in config["views"].items() if value or "generated" not in key}
    arguments = dict(config["data"].get("init_args", {}))
    if arguments.get("root"):
        arguments["root"] = str(Path(arguments["root"]).resolve())
    if not arguments.get("fit_images"):
        arguments.pop("fit_images", None)
    if "init_args" in config["data"]:
        decisive["data"] = {**config["data"], "init_args": arguments}
    return digest(decisive)


def data_hash(config: dict[str, Any]) -> str:
    """Hash of the images that a method encodes without augmentation: the data set, its root and the views' recipe."""
    return digest([config["data"], config["views"]["recipe"]])


def encoder_hash(method: nn.Module, config: dict[str, Any]) -> str:
    """SHA-256 of the weights and of what they encode: equal hashes mean equal features."""
    sha = hashlib.sha256(json.dumps([config["data"], config["views"], config["trainer"]["precision"]]).encode())
    for name, tensor in method.state_dict().items():
        sha.update(name.encode() + tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def settings_hash(protocol: object) -> str:
    """Hash of a protocol's settings, by its ``repr``."""
    return hashlib.sha256(repr(protocol).encode()).hexdigest()[:8]


def names(config: dict[str, Any]) -> tuple[str, str]:
    """Method (with its variant) and data set as the run's folder, the table and wandb call them."""
    method, data = (
        config["names"][kind] or config[kind]["class_path"].rpartition(".")[2] for kind in ("method", "data")
    )
    return method, data


def run_folder(config: dict[str, Any]) -> Path:
    """``OUT/<method>-<data>-s<seed>-<hash>``: the same configuration finds its own run and no other."""
    return Path(config["out"]) / f"{'-'.join(names(config))}-s{config['seed']}-{config_hash(config)}"
