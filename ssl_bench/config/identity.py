"""Names, hashes and folders that identify a run, its data, its encoder and its protocols' settings."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_bench.config.locations import without_locations
from ssl_bench.config.names import check_name
from ssl_bench.trust import import_class

if TYPE_CHECKING:  # tables compare settings without torch, which takes seconds to import
    from torch import nn

SAME_RESULT = {"devices", "num_nodes", "accelerator", "log_every_n_steps", "detect_anomaly"}
"""Trainer arguments that do not change the result, except by the number of processes, which is hashed itself."""
LOCAL_VIEWS = ("num_local_views", "local_recipe")
"""Keys of ``views`` that are not hashed if they are not set."""
PRECISIONS = {"None": "32-true", "16": "16-mixed", "bf16": "bf16-mixed", "32": "32-true", "64": "64-true"}
"""Lightning's short names of precisions."""


def digest(value: object) -> str:
    """First eight hexadecimal digits of the SHA-256 of a JSON value; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


def config_hash(config: dict[str, Any], *, seed: bool = True) -> str:
    """Hash of the settings that determine a run's result, see `result_settings`."""
    return digest(result_settings(config, seed=seed))


def result_settings(config: dict[str, Any], *, seed: bool = True) -> dict[str, Any]:
    """The settings that determine a run's result.

    The keys ``names``, ``reference`` and ``validation`` are excluded, and so is what else does not change the result:
    `SAME_RESULT`, the number of loader processes, and locations of files (see `without_locations`). The global batch
    and the number of processes are included, because each process has its own random numbers and BatchNorm statistics.
    The keys ``curve``, ``data.fit_images`` and those of generated and local views are included only if they are set.

    Args:
        config: a resolved configuration, see `ssl_bench.config.resolve.to_dict`.
        seed: whether to include the seed.
    """
    left_out = {"reference", "names", "validation"} | (set() if seed else {"seed"})
    left_out |= set() if config.get("curve", {}).get("every") else {"curve"}
    counted = {key: value for key, value in config.items() if key not in left_out}
    optional = ("generated", "generated_recipe", *LOCAL_VIEWS)
    counted["views"] = {key: value for key, value in config["views"].items() if value or key not in optional}
    trainer = {key: value for key, value in config["trainer"].items() if key not in SAME_RESULT}
    trainer["precision"] = PRECISIONS.get(str(trainer["precision"]), trainer["precision"])
    if str(trainer["strategy"]).startswith("ddp"):
        trainer["strategy"] = "auto"  # which is ddp if there are several processes
    counted["trainer"] = trainer
    if (processes := world_size(config)) > 1:
        counted["processes"] = processes
    if "init_args" in config["data"]:
        arguments = {**config["data"]["init_args"], "batch_size": global_batch(config)}
        if not arguments.get("fit_images"):
            arguments.pop("fit_images", None)
        counted["data"] = {**config["data"], "init_args": arguments}
    settings: dict[str, Any] = without_locations(without_global_batch(counted))
    return settings


def without_global_batch(config: Any) -> Any:
    """A configuration without ``global_batch_size``, which earlier runs do not have; ``batch_size`` has its effect."""
    if isinstance(config, list):
        return [without_global_batch(value) for value in config]
    if not isinstance(config, dict):
        return config
    return {key: without_global_batch(value) for key, value in config.items() if key != "global_batch_size"}


def differences(theirs: Any, ours: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Keys and both values wherever two configurations differ; of two different classes only the class paths."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        both = [*ours, *(key for key in theirs if key not in ours)]
        if theirs.get("class_path") != ours.get("class_path"):
            both = ["class_path"]
        for key in both:
            yield from differences(theirs.get(key), ours.get(key), (*keys, key))
    elif theirs != ours:
        yield keys, theirs, ours


def world_size(config: dict[str, Any]) -> int:
    """Number of processes of training."""
    size: int = config["trainer"]["devices"] * config["trainer"]["num_nodes"]
    return size


def global_batch(config: dict[str, Any]) -> int | None:
    """Number of images of all processes in a step of the optimizer; None if the data set has no batch size."""
    batch: int | None = config["data"].get("init_args", {}).get("batch_size")
    return batch and batch * world_size(config) * config["trainer"]["accumulate_grad_batches"]


def data_hash(config: dict[str, Any]) -> str:
    """Hash of what determines the images in evaluation: the data set, its root and the recipe of the views.

    The root is included because the hash names caches that all runs on this machine share.
    """
    return digest([without_global_batch(config["data"]), config["views"]["recipe"]])


def encoder_hash(method: "nn.Module", config: dict[str, Any]) -> str:
    """SHA-256 of weights, data, views and precision. Encoders with equal hashes have equal features."""
    import torch

    views = {key: value for key, value in config["views"].items() if value or key not in LOCAL_VIEWS}
    settings = without_locations([without_global_batch(config["data"]), views, config["trainer"]["precision"]])
    sha = hashlib.sha256(json.dumps(settings).encode())
    for name, tensor in method.state_dict().items():
        sha.update(name.encode() + tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def settings_hash(protocol: object) -> str:
    """Hash of the settings of a protocol, computed from its ``repr``."""
    return hashlib.sha256(repr(protocol).encode()).hexdigest()[:8]


def names(config: dict[str, Any]) -> tuple[str, str]:
    """Names of the method (with its variant) and of the data set, as in the run folder, in tables and in wandb.

    They are those of ``names`` if given. The name of data is otherwise ``data.name``, if the data set has that key, or
    the name of the data set.

    Raises:
        UserError: see `check_name`.
    """
    given = config["names"]
    method = given["method"] or config["method"]["class_path"].rpartition(".")[2]
    data = given["data"] or config["data"].get("init_args", {}).get("name")
    if not data:
        kind = import_class(config["data"]["class_path"])
        data = getattr(kind, "name", kind.__name__)
    return check_name("names.method", method), check_name("names.data" if given["data"] else "data.name", data)


def run_folder(config: dict[str, Any], out: Path) -> Path:
    """Folder of a run, ``OUT/<method>-<data>-s<seed>-<hash>``. Each configuration has its own folder.

    Raises:
        UserError: see `check_name`; the folder is therefore always directly in ``out``.
    """
    return out / f"{'-'.join(names(config))}-s{config['seed']}-{config_hash(config)}"
