"""What wandb is told of a run: its configuration, and the record's metrics under the record's names."""

import importlib.util
import os
from pathlib import Path
from typing import Any

from ssl_bench.results.record import Record


def init_arguments(folder: Path, group: str, config: dict[str, Any]) -> dict[str, Any] | None:
    """Arguments of `wandb.init` for a run folder; None where wandb is not installed or is switched off.

    The run is kept offline, in the run folder, where there is no account.

    Args:
        folder: the run folder; its name is the run's, so that a later session goes on with the same run.
        group: the data set, so that a group is one of our tables.
        config: the resolved configuration.
    """
    if importlib.util.find_spec("wandb") is None or os.environ.get("WANDB_MODE") == "disabled":
        return None
    os.environ.setdefault("WANDB_SILENT", "true")  # its terminal lines would stand between ours
    import wandb

    offline = os.environ.get("WANDB_MODE") == "offline" or not wandb.login(prompt=False, verify=False)
    return {
        "project": "ssl_bench",
        "group": group,
        "name": folder.name,
        "id": folder.name,
        "resume": "allow",
        "dir": folder,
        "mode": "offline" if offline else "online",
        "config": config,
    }


def log_record(record: Record, folder: Path, config: dict[str, Any]) -> None:
    """Put a record's metrics into its wandb run's summary, and the folder's figures beside; end the run.

    The run is the one that is open, as after training, else one that is opened for this.
    """
    arguments = init_arguments(folder, record.data, config)
    if arguments is None:
        return
    import wandb

    run = wandb.run or wandb.init(**arguments)
    # What the table tells settings apart by.
    run.config.update({"commit": record.commit, "setting_hash": record.setting_hash}, allow_val_change=True)
    run.summary.update(record.metrics)
    pictures = sorted((folder / "figures").glob("*.png"))
    run.log({f"figures/{path.stem}": wandb.Image(str(path)) for path in pictures})
    run.finish()
