"""`ssl-bench bench --dry_run`: what a run would do, after two steps of training of which nothing is kept."""

import math
import tempfile
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from lightning import Trainer, seed_everything

from ssl_bench.config.identity import run_folder, world_size
from ssl_bench.config.resolve import build, resolve, to_dict
from ssl_bench.config.schema import Run
from ssl_bench.data.sampler import BatchSampler
from ssl_bench.errors import UserError
from ssl_bench.networks.layout import use_channels_last
from ssl_bench.results.record import peak_memory_mb
from ssl_bench.runs.checks import check_end
from ssl_bench.runs.quiet import prepare_process
from ssl_bench.runs.trainer_checks import check_accelerator, check_manual_optimization, user_errors
from ssl_bench.runs.trial import try_method, try_noise, try_views


def dry_run(arguments: list[str], out: Path) -> None:
    """Print run folder, parameters, data, steps, and the memory of a step of one process; no run folder is written.

    Args:
        arguments: configuration files and flags, in the order in which they are stacked.
        out: folder of the run folders.

    Raises:
        UserError: a setting is not valid, data are missing, or the memory of the GPU is not sufficient.
    """
    prepare_process()
    config = resolve(arguments)
    resolved = to_dict(config)
    check_end(resolved["trainer"])
    check_accelerator(config.trainer.accelerator)
    folder = run_folder(resolved, out)
    print(f"run         {folder}{' (recorded)' if (folder / 'metrics.json').is_file() else ''}")
    seed_everything(config.seed, workers=True, verbose=False)
    run = build(config)
    for check in (try_method, try_views, try_noise):
        check(run)
    check_manual_optimization(run, config)
    parameters = list(run.method.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    print(f"parameters  {sum(p.numel() for p in parameters):,}, of them trained {trained:,}")
    run.data.setup()
    print(f"data        {run.data.summary()}")
    images, processes = len(run.data.fit_ids()), world_size(resolved)
    sampler = BatchSampler(
        range(images), run.data.batch_size, num_replicas=processes, rank=0, drop_last=run.data.drop_last
    )
    steps = number_of_steps(len(sampler), resolved["trainer"])
    batch = processes * run.data.batch_size * config.trainer.accumulate_grad_batches
    divided = f" ({processes} processes)" if processes > 1 else ""
    print(f"epoch       {images:,} images, {steps:,} steps of {batch:,}{divided}")
    print(f"training    {length(steps, resolved['trainer'])}, precision {config.trainer.precision}")
    print(f"memory      {memory_of_a_step(run, config):,.0f} MiB at the peak of a step of one process")


def number_of_steps(batches: int, trainer: dict[str, Any]) -> int:
    """Steps of the optimizer in an epoch of so many batches of a process."""
    limit = trainer["limit_train_batches"]
    if limit is not None:
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    accumulated: int = trainer["accumulate_grad_batches"]
    return math.ceil(batches / accumulated)


def length(steps: int, trainer: dict[str, Any]) -> str:
    """Epochs and steps of the training, of so many steps in an epoch."""
    epochs, most = trainer["max_epochs"], trainer["max_steps"]
    without_epochs = epochs is None or epochs < 0
    if without_epochs and most < 0:
        return f"{trainer['max_time']} (days:hours:minutes:seconds)"
    total = most if without_epochs else steps * epochs if most < 0 else min(most, steps * epochs)
    return f"{math.ceil(total / steps) if steps else 0} epochs, {total:,} steps"


def memory_of_a_step(run: Run, config: Namespace) -> float:
    """Peak memory in MiB after two steps: of the GPU, or of this process.

    In the first step there are no averages of the optimizer and no gradients of the step before.

    Raises:
        UserError: Lightning refuses settings of the trainer, or the memory of the GPU is not sufficient.
    """
    steps = {"devices": 1, "num_nodes": 1, "strategy": "auto", "max_epochs": 1, "min_epochs": None, "max_steps": -1}
    steps |= {"min_steps": None, "limit_train_batches": 2 * config.trainer.accumulate_grad_batches}
    # The default is the working directory, which may be a run folder, and views are recorded in a run folder.
    with tempfile.TemporaryDirectory() as empty:
        with user_errors():
            trainer = Trainer(
                **config.trainer.as_dict() | steps | {"default_root_dir": empty},
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                use_distributed_sampler=False,
            )
        run.method.views = run.views
        if config.channels_last:
            use_channels_last(run.method)
        try:
            trainer.fit(run.method, datamodule=run.data)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"a step of {run.data.batch_size} images does not fit into the memory of "
                f"{torch.cuda.get_device_name()}: give a smaller --data.batch_size"
            ) from error
    device = trainer.strategy.root_device
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else peak_memory_mb()
