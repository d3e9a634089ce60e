"""Checks of command-line arguments that need neither torch nor Lightning, which take seconds to import."""

import os
from pathlib import Path
from typing import Any

from ssl_bench.config.class_settings import check_class_settings, check_root
from ssl_bench.config.known_settings import value_of
from ssl_bench.config.yaml_file import read_settings
from ssl_bench.errors import UserError
from ssl_bench.evaluation.protocol_names import check_protocols
from ssl_bench.results.record import Record
from ssl_bench.runs.launcher import check_launched

FEATURE_SUFFIXES = (".safetensors", ".npz", ".npy")
"""Endings of files of features; `ssl_bench.evaluation.feature_file` reads them."""


def check_devices(devices: str) -> None:
    """Check the devices of a command that scores.

    Raises:
        UserError: `devices` is not valid, see `given_devices`, or a launcher has started another number.
    """
    check_launched(devices)


def check_epochs(epochs: str | None) -> None:
    """Check a number of epochs; None is the default of the configuration.

    Raises:
        UserError: `epochs` is not an integer of at least 0. Lightning takes -1 as training without end.
    """
    if epochs is not None and not epochs.isdecimal():
        raise UserError(f"--epochs must be an integer of at least 0, got {epochs!r}")


def check_end(trainer: dict[str, Any]) -> None:
    """Check that the settings of the trainer, of files and flags, end the training.

    Raises:
        UserError: neither the epochs nor the steps nor the time are limited.
    """
    epochs = trainer["max_epochs"]
    if (epochs is None or epochs < 0) and trainer["max_steps"] < 0 and trainer["max_time"] is None:
        given = "null" if epochs is None else epochs
        raise UserError(
            f"trainer.max_epochs must be an integer of at least 0, got {given}: training "
            "would not end; give --epochs N or trainer.max_steps"
        )


def check_record(folder: Path, config_hash: str) -> None:
    """Check that the record in a run folder, if there is one, is of its configuration.

    Args:
        folder: the run folder.
        config_hash: hash of its configuration.

    Raises:
        UserError: the record is of another run, or damaged.
    """
    file = folder / "metrics.json"
    if file.is_file() and (record := Record.read(folder)).config_hash != config_hash:
        raise UserError(
            f"{file} is the record of another run ({record.run}), but the configuration of the folder has the hash "
            f"{config_hash}: restore the run's own config.yaml and metrics.json, or delete metrics.json"
        )


def check_run_folder(folder: Path) -> None:
    """Check a run folder that is scored.

    Raises:
        UserError: the folder has no configuration, a damaged one or a link that `check_links` refuses.
    """
    file = folder / "config.yaml"
    if not file.is_file():
        name = folder if len(folder.parts) == 1 else "NAME"
        raise UserError(
            f"no config.yaml in {folder}: give a run folder, an encoder (see `ssl-bench list`), a model of timm as "
            f"timm/{name}, or a file of features ({', '.join(FEATURE_SUFFIXES)})"
        )
    check_links(folder)
    read_settings(file)


def check_evaluation_flags(scored: str, flags: list[str]) -> None:
    """Check the flags with which a run or a file of features is scored.

    Args:
        scored: ``RUN`` or ``FILE``.
        flags: the flags that are not arguments of the command itself.

    Raises:
        UserError: a flag is not a valid setting of the evaluation, or not of the place of the data of a run.
    """
    places = ["--data.root"] if scored == "RUN" else []
    for flag in flags:
        if flag.startswith("--") and not flag.startswith("--evaluation") and flag.partition("=")[0] not in places:
            allowed = " and ".join(["--evaluation.KEY", *places])
            reason = ": other settings would make another run" if scored == "RUN" else ""
            raise UserError(f"evaluate {scored} takes {allowed} only, got {flag}{reason}")
    check_chosen(flags)


def check_chosen(arguments: list[str], out: Path | None = None) -> None:
    """Check the settings of the chosen classes and the names of protocols, without importing them.

    Args:
        arguments: files and flags, in the order in which they are stacked.
        out: folder of the run folders, if the folder of the data is checked too.

    Raises:
        UserError: a key or value is not valid, or there is no such folder of the user's data.
    """
    given = check_class_settings(arguments)
    protocols = value_of(given.values.get("evaluation", {}).get("protocols", (None, ""))[0])
    check_protocols([name for name in protocols if isinstance(name, str)] if isinstance(protocols, list) else [])
    if out is not None and not any(flag.startswith("--print_config") for flag in arguments):
        check_root(given, out)


def check_links(folder: Path) -> None:
    """Check that a run folder, which may be of another person, contains no link to a place outside of it and no pipe.

    Commands write to a run folder; through such a link they would write elsewhere, and a pipe would block them. The
    folder itself may be a link. In the logs of earlier wandb runs, to which nothing is written, wandb makes links to
    its cache.

    Raises:
        UserError: there is such a link or file.
    """
    root = folder.resolve()
    for path in folder.rglob("*"):
        if path.relative_to(folder).match("wandb/*/logs/*"):
            continue
        if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(root):
            raise UserError(f"{path} is a link out of the run folder: replace it by a copy of {path.readlink()}")
        if path.is_fifo() or path.is_socket() or path.is_char_device() or path.is_block_device():
            raise UserError(f"{path} is a pipe, socket or device, expected a file or folder: delete it")


def check_feature_file(path: Path) -> None:
    """Check that a file of features exists.

    Raises:
        UserError: the file does not exist.
    """
    if not path.is_file():
        raise UserError(f"no file {path}: give features in {', '.join(FEATURE_SUFFIXES)}")
