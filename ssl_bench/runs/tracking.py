"""Logging to wandb: the configuration of a run, and the metrics of its record with the same names."""

import importlib.util
import os
from pathlib import Path
from typing import Any

from ssl_bench.results.record import Record
from ssl_bench.results.shareable import shareable


def init_arguments(folder: Path, group: str, config: dict[str, Any]) -> dict[str, Any] | None:
    """Arguments of `wandb.init` for a run folder; None if wandb is not installed or is disabled.

    Without an account the run is logged offline, to the run folder.

    Args:
        folder: the run folder. Its name is the id of the wandb run, so that a later session resumes the wandb run.
        group: name of the data set, so that a group corresponds to a table.
        config: the resolved configuration.
    """
    if importlib.util.find_spec("wandb") is None or os.environ.get("WANDB_MODE") == "disabled":
        return None
    os.environ.setdefault("WANDB_SILENT", "true")  # keeps its lines out of the terminal
    import wandb

    offline = os.environ.get("WANDB_MODE") == "offline" or not wandb.login(prompt=False, verify=False)
    # The terminal and the metadata contain the command line and paths of this machine.
    settings = wandb.Settings(console="off", disable_git=True, x_disable_meta=True, x_disable_machine_info=True)
    return {
        "project": "ssl_bench",
        "group": group,
        "name": folder.name,
        "id": folder.name,
        "resume": "allow",
        "dir": folder,
        "mode": "offline" if offline else "online",
        "config": shareable(config),
        "settings": settings,
    }


def log_record(record: Record, folder: Path, config: dict[str, Any]) -> None:
    """Log the metrics of a record as the summary of its wandb run, log the figures, and finish the wandb run.

    If the wandb run is not open, as it is after training, it is resumed.
    """
    arguments = init_arguments(folder, record.data, config)
    if arguments is None:
        return
    import wandb

    run = wandb.run or wandb.init(**arguments)
    # The table separates settings by these.
    run.config.update({"commit": record.commit, "setting_hash": record.setting_hash}, allow_val_change=True)
    run.summary.update(record.metrics)
    figures = sorted((folder / "figures").glob("*.png"))
    run.log({f"figures/{path.stem}": wandb.Image(str(path)) for path in figures})
    run.finish()
