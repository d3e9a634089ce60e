"""A run from its configuration to its record: fit, encode, score, draw, print."""

import hashlib
import importlib.util
import json
import logging
import os
import shlex
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import Namespace
from lightning import Trainer, seed_everything
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from ssl_bench.callbacks.finite import StopWhenNotFinite
from ssl_bench.callbacks.progress import EpochLine
from ssl_bench.callbacks.seeding import EpochSeed
from ssl_bench.callbacks.stopwatch import Stopwatch
from ssl_bench.errors import UserError
from ssl_bench.evaluation.features import extract
from ssl_bench.experiment import Run, build, config_hash, load_method, names, plain, resolve, run_folder
from ssl_bench.figures import draw
from ssl_bench.files import replacing
from ssl_bench.methods.base import Method
from ssl_bench.results import Record, commit, peak_memory_mb
from ssl_bench.table import print_table, read_records

for module in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
    logging.getLogger(module).setLevel(logging.WARNING)  # device lists and advertisements
for message in (
    ".*overridden `.*transfer.*` in `LightningModule`",  # as meant: the method makes the views
    ".*isinstance.treespec, LeafSpec.. is deprecated",  # Lightning's own
    ".*does not have many workers",  # a batch is one gather: workers would only be slower
    ".*number of training batches .* is smaller than the logging interval",
):
    warnings.filterwarnings("ignore", message)


if not torch.cuda.is_available():
    # A torch built for CUDA looks for GPUs in every optimizer step, 0.3 ms each; told there are none, it does not.
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")


def bench(arguments: list[str], fit_only: bool = False) -> None:
    """Carry out `ssl-bench bench` or `ssl-bench fit` for a stack of files and flags.

    A run that is already recorded is only shown; one that was interrupted goes on from its last checkpoint.
    """
    config = resolve(arguments)
    resolved = plain(config)
    folder = run_folder(resolved)
    first = rank_zero_only.rank == 0  # known before any trainer is: launchers say it in the environment
    if (folder / "metrics.json").is_file():
        if first:
            print(f"this configuration has been run before: delete {folder} to run it again")
    else:
        if first:
            make_folder(folder, resolved)
        seed_everything(config.seed, workers=True, verbose=False)
        run = build(config)
        trainer = fit(run, config, folder)
        if first and not fit_only:
            score(run, config, folder, trainer.strategy.root_device)
    if first and fit_only:
        print(folder)
    elif first:
        show(folder)


def evaluate(folder: Path, flags: list[str]) -> None:
    """Carry out `ssl-bench evaluate`: score a run's last checkpoint, by other protocol settings where flags say so."""
    if not (folder / "config.yaml").is_file():
        raise UserError(f"no config.yaml in {folder}: give a run folder that `ssl-bench bench` or `fit` made")
    config = resolve(["--config", str(folder / "config.yaml"), *flags])
    seed_everything(config.seed, workers=True, verbose=False)
    run = build(config)
    run.method = load_method(folder)
    run.data.setup()
    on_gpu = torch.cuda.is_available() and config.trainer.accelerator in ("auto", "gpu", "cuda")
    score(run, config, folder, torch.device("cuda" if on_gpu else "cpu"))
    show(folder)


def make_folder(folder: Path, config: dict[str, Any]) -> None:
    """Make the run folder with its re-runnable configuration, before anything long starts."""
    try:
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        with replacing(folder / "config.yaml") as file:
            file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; give another folder with --out") from error


def fit(run: Run, config: Namespace, folder: Path) -> Trainer:
    """Train, from the last checkpoint where there is one; the checkpoint of the last epoch is always written."""
    run.method.views = run.views
    if config.channels_last:
        run.method.to(memory_format=torch.channels_last)
    checkpoint = ModelCheckpoint(folder / "checkpoints", filename="last", enable_version_counter=False)
    watchers: list[Callback] = [RichProgressBar() if sys.stdout.isatty() else EpochLine()]
    trainer = Trainer(
        **config.trainer.as_dict(),
        default_root_dir=folder,
        logger=loggers(config, folder),
        callbacks=[Stopwatch(), EpochSeed(config.seed), StopWhenNotFinite(), *watchers, checkpoint],
        enable_progress_bar=sys.stdout.isatty(),
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
    )
    last = folder / "checkpoints" / "last.ckpt"
    trainer.fit(run.method, datamodule=run.data, ckpt_path=last if last.is_file() else None, weights_only=True)
    if not last.is_file():  # no epoch at all: the untrained encoder
        trainer.save_checkpoint(last)
    return trainer


def loggers(config: Namespace, folder: Path) -> list[Logger]:
    """CSV always; wandb where it is installed and not switched off, offline where there is no account."""
    chosen: list[Logger] = [CSVLogger(folder, name="logs")]
    if importlib.util.find_spec("wandb") is None or os.environ.get("WANDB_MODE") == "disabled":
        return chosen
    os.environ.setdefault("WANDB_SILENT", "true")  # its terminal lines would stand between ours
    import wandb

    offline = os.environ.get("WANDB_MODE") == "offline" or not wandb.login(prompt=False, verify=False)
    resolved = plain(config)
    logger = WandbLogger(
        project="ssl_bench",
        group=names(resolved)[1],
        name=folder.name,
        id=folder.name,
        save_dir=folder,
        mode="offline" if offline else "online",
        config=resolved,
    )
    return [*chosen, logger]


@torch.no_grad()
def score(run: Run, config: Namespace, folder: Path, device: torch.device) -> Record:
    """Encode every split once, run the protocols, and record, draw and log what came out."""
    resolved = plain(config)
    label, data_name = names(resolved)
    run.method.eval().to(device)
    start = time.perf_counter()
    features = extract(
        run.method.encode,
        run.data,
        run.views.plain,
        folder / "features",
        key=encoder_hash(run.method, resolved),
        device=device,
        autocast=torch.bfloat16 if "bf16" in str(config.trainer.precision) else None,
    )
    seconds = {"fit": fit_seconds(folder), "extract": time.perf_counter() - start}
    with torch.enable_grad():
        result = run.evaluation(features, device)
    figures = draw(folder, run, features, device)
    record = Record(
        method=label,
        data=data_name,
        seed=config.seed,
        epochs=config.trainer.max_epochs,
        config_hash=config_hash(resolved),
        setting_hash=config_hash(resolved, seed=False),
        commit=commit(),
        command=shlex.join(["ssl-bench", *sys.argv[1:]]),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        seconds={name: round(value, 3) for name, value in (seconds | result.seconds).items()},
        peak_memory_mb=peak_memory_mb(),
        metrics=result.metrics,
        failed=result.failed,
        left_out=list(result.left_out),
        reference=resolved["reference"],
    )
    if device.type == "cuda":
        record.peak_memory_mb = torch.cuda.max_memory_allocated(device) / 2**20
    record.write(folder)
    log_to_wandb(record, figures)
    return record


def encoder_hash(method: Method, config: dict[str, Any]) -> str:
    """Hash of the weights and of what is encoded: the same means the same features."""
    digest = hashlib.sha256(json.dumps([config["data"], config["views"], config["trainer"]["precision"]]).encode())
    for name, tensor in method.state_dict().items():
        digest.update(name.encode() + tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def fit_seconds(folder: Path) -> float:
    """What the stopwatch in a run's last checkpoint shows."""
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", map_location="meta", weights_only=True)
    return float(checkpoint["callbacks"].get("Stopwatch", {}).get("seconds", 0.0))


def log_to_wandb(record: Record, figures: list[Path]) -> None:
    """Put the record's metrics into the open wandb run's summary under their own names, and the figures beside."""
    wandb = sys.modules.get("wandb")
    if wandb is None or wandb.run is None:
        return
    wandb.run.summary.update(record.metrics)
    wandb.run.log({f"figures/{path.stem}": wandb.Image(str(path)) for path in figures})
    wandb.finish()


def show(folder: Path) -> None:
    """Print this run beside every other recorded run on the same data, and where it is."""
    record = Record.read(folder)
    print_table([other for other in read_records([folder.parent]) if other.data == record.data])
    print(folder)
