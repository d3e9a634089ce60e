"""Logging to wandb: the configuration of a run, and the metrics of its record with the same names."""

import importlib.util
import os
from pathlib import Path
from typing import Any

from ssl_bench.config.identity import config_hash, names
from ssl_bench.results.record import Record
from ssl_bench.results.shareable import shareable
from ssl_bench.trust import import_class

TABLE_VARIABLE = "SSL_BENCH_TABLE"
"""Environment variable with the name of the paper's table that a run belongs to, a tag of the run in wandb."""


def is_enabled() -> bool:
    """Whether wandb is installed and not disabled."""
    return importlib.util.find_spec("wandb") is not None and os.environ.get("WANDB_MODE") != "disabled"


def connection() -> dict[str, Any]:
    """Arguments of `wandb.init` that all runs share: project, mode and settings."""
    os.environ.setdefault("WANDB_SILENT", "true")  # keeps its lines out of the terminal
    import wandb

    offline = os.environ.get("WANDB_MODE") == "offline" or not wandb.login(prompt=False, verify=False)
    return {
        "project": os.environ.get("WANDB_PROJECT", "ssl_bench"),
        "mode": "offline" if offline else "online",
        # The terminal and the metadata contain the command line and paths of this machine.
        "settings": wandb.Settings(console="off", disable_git=True, x_disable_meta=True, x_disable_machine_info=True),
    }


def init_arguments(folder: Path, config: dict[str, Any]) -> dict[str, Any] | None:
    """Arguments of `wandb.init` for a run folder; None if wandb is not installed or is disabled.

    Without an account the run is logged offline, to the run folder. Project, entity and additional tags are those of
    wandb's variables ``WANDB_PROJECT`` (by default ssl_bench), ``WANDB_ENTITY`` and ``WANDB_TAGS``. The group is the
    setting: the runs of a group differ in the seed.

    Args:
        folder: the run folder. Its name is the id of the wandb run, so that a later session resumes the wandb run; an
            agent of a wandb sweep chooses the id itself.
        config: the resolved configuration.
    """
    if not is_enabled():
        return None
    method, data = names(config)
    family = getattr(import_class(config["method"]["class_path"]), "family", "")
    table = os.environ.get(TABLE_VARIABLE, "")
    tags = [method, data, family, table, *os.environ.get("WANDB_TAGS", "").split(",")]
    identity = {} if os.environ.get("WANDB_SWEEP_ID") else {"id": folder.name, "resume": "allow"}
    return {
        **connection(),
        "job_type": "evaluate" if family == "baseline" else "train",
        "group": f"{method}-{data}-{config_hash(config, seed=False)}",
        "tags": list(dict.fromkeys(filter(None, tags))),
        "name": folder.name,
        **identity,
        "dir": folder,
        "config": shareable(config),
    }


def log_record(record: Record, folder: Path, config: dict[str, Any]) -> None:
    """Log metrics and costs of a record as the summary of its wandb run, log the figures, and finish the wandb run.

    If the wandb run is not open, as it is after training, it is resumed.
    """
    arguments = init_arguments(folder, config)
    if arguments is None:
        return
    import wandb

    run = wandb.run or wandb.init(**arguments)
    # The table separates settings by these.
    run.config.update({"commit": record.commit, "setting_hash": record.setting_hash}, allow_val_change=True)
    run.summary.update(record.metrics | record.costs)
    figures = sorted((folder / "figures").glob("*.png"))
    run.log({f"figures/{path.stem}": wandb.Image(str(path)) for path in figures})
    run.finish()


def log_report(page: Path) -> None:
    """Log the page of `ssl-bench report` as a panel and as an artifact of a wandb run of its own."""
    import wandb

    run = wandb.init(name="report", job_type="report", dir=page.parent, **connection())
    run.log({"report": wandb.Html(page.read_text(encoding="utf-8"), inject=False)})
    artifact = wandb.Artifact("report", type="report")
    artifact.add_file(str(page))
    run.log_artifact(artifact)
    run.finish()
