"""`ssl-bench bench` and `ssl-bench fit`."""

import sys
import time
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning import Trainer, seed_everything
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from ssl_bench.callbacks.data_check import DataCheck
from ssl_bench.callbacks.finite import StopOnNonFinite
from ssl_bench.callbacks.generation_curve import GenerationCurve
from ssl_bench.callbacks.progress import EpochLine, EpochSize, LogEveryEpoch, ProgressBar
from ssl_bench.callbacks.resume import ResumeAfterEpoch
from ssl_bench.callbacks.samples import SampleGrid
from ssl_bench.callbacks.seeding import EpochSeed
from ssl_bench.callbacks.stopwatch import Stopwatch
from ssl_bench.callbacks.termination import StopOnSignal
from ssl_bench.callbacks.validation_curve import ValidationCurve
from ssl_bench.config.agreement import load_run_method
from ssl_bench.config.identity import config_hash, run_folder
from ssl_bench.config.inputs import check_inputs, record_inputs
from ssl_bench.config.resolve import build, resolve, to_dict
from ssl_bench.config.schema import Run
from ssl_bench.errors import UserError
from ssl_bench.evaluation.run_images import scoring_device
from ssl_bench.evaluation.suite import Result
from ssl_bench.files import remove_unfinished, replacing
from ssl_bench.lock import folder_lock
from ssl_bench.networks.layout import use_channels_last
from ssl_bench.results.data_groups import same_data
from ssl_bench.results.formats import print_table
from ssl_bench.results.record import Record
from ssl_bench.results.table import read_records
from ssl_bench.runs import tracking
from ssl_bench.runs.checkpoint_io import RunCheckpointIO
from ssl_bench.runs.checks import check_end, check_links, check_record
from ssl_bench.runs.csv_log import RunCSVLogger
from ssl_bench.runs.epochs import other_epochs
from ssl_bench.runs.launch import expect_group, is_first
from ssl_bench.runs.moved_data import check_moved_data
from ssl_bench.runs.quiet import prepare_process
from ssl_bench.runs.refused import removed_if_refused
from ssl_bench.runs.score import check_scored, score
from ssl_bench.runs.trainer_checks import check_accelerator, check_manual_optimization, user_errors
from ssl_bench.runs.trial import try_method, try_noise, try_views
from ssl_bench.termination import Terminated


def bench(arguments: list[str], out: Path, fit_only: bool = False, wait: bool = False) -> Path:
    """Train, score and record a run, and print the table of its data set; returns the run folder.

    A run that is already recorded is only printed; an interrupted run resumes from its last checkpoint.

    Args:
        arguments: configuration files and flags, in the order in which they are stacked.
        out: folder of the run folders.
        fit_only: whether to train without scoring; the run folder is then printed instead of the table.
        wait: whether to wait for another process that works on the run, or to be refused.

    Raises:
        RunError: no protocol has scores, also if the run is already recorded.
    """
    start = time.perf_counter()
    prepare_process()
    config = resolve(arguments)
    resolved = to_dict(config)
    check_end(resolved["trainer"])
    folder = run_folder(resolved, out)
    check_links(folder)
    check_inputs(folder, resolved)
    first = is_first()
    result: Result | Record | None = None
    recorded = (folder / "metrics.json").is_file
    with folder_lock(folder, wait, first=first, until=recorded), removed_if_refused(folder):
        check_record(folder, config_hash(resolved))
        check_moved_data(config, folder)
        if recorded():
            result = record = Record.read(folder)
            if first:
                at = f" at commit {record.commit}" if record.commit else ""
                print(f"already recorded{at}: delete {folder} to run it again")
        else:
            check_accelerator(config.trainer.accelerator)
            if first:
                print(f"setting up {folder.name}", flush=True)
            seed_everything(config.seed, workers=True, verbose=False)
            run = build(config)
            try_method(run)
            try_views(run)
            try_noise(run)
            if first:
                report_other_epochs(folder, resolved)
                make_folder(folder, resolved)
            trainer = fit(run, config, folder)
            first = trainer.is_global_zero
            if not fit_only:
                # The checkpoint is scored, because BatchNorm statistics differ between processes after the last step.
                run.method = load_run_method(folder, resolved)
                result = score(run, resolved, folder, scoring_device(trainer.strategy.root_device))
            if first:
                print(f"total {time.perf_counter() - start:.1f} s", flush=True)
    if first and fit_only:
        print(folder)
    elif first:
        print_result(folder)
    if result and not fit_only:
        check_scored(result, folder)
    return folder


def report_other_epochs(folder: Path, config: dict[str, Any]) -> None:
    """Print that a run is new if there are runs with other numbers of epochs and otherwise the same settings."""
    if not (folder / "config.yaml").exists() and (others := other_epochs(folder, config)):
        numbers = {folder: config["trainer"]["max_epochs"], **others}
        new, *same = (f"{run} ({n} epoch{'s' * (n != 1)})" for run, n in numbers.items())
        print(f"new run {new}; otherwise the same settings: {', '.join(same)}")


def make_folder(folder: Path, config: dict[str, Any]) -> None:
    """Make the run folder, without files that a killed process left; write the configuration and digests of inputs.

    Raises:
        UserError: the folder cannot be written, or an input of the run has another content, see `check_inputs`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(folder)
        record_inputs(folder, config)
        with replacing(folder / "config.yaml") as file:
            file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; give another folder with --out") from error


def fit(run: Run, config: Namespace, folder: Path) -> Trainer:
    """Train from scratch or from the last checkpoint, and write the checkpoint of the last epoch.

    Raises:
        UserError: Lightning refuses settings of the trainer, or the method has manual optimization, and the trainer is
            set to clip or accumulate gradients.
        Terminated: a process received SIGTERM; the checkpoint is of the last step.
    """
    check_manual_optimization(run, config)
    run.method.views = run.views
    if config.channels_last and not use_channels_last(run.method):
        rank_zero_only(print)("channels_last is not used: it would crash some convolutions on this processor")
    last = folder / "checkpoints" / "last.ckpt"
    checkpoint = ModelCheckpoint(folder / "checkpoints", filename="last", enable_version_counter=False)
    callbacks: list[Callback] = [ProgressBar() if sys.stdout.isatty() else EpochLine(), SampleGrid(folder)]
    stopwatch = Stopwatch()
    if run.validation.every != 0:
        callbacks.append(ValidationCurve(run, config.trainer.precision, stopwatch))
    if run.curve.every:
        callbacks.append(GenerationCurve(run, to_dict(config), folder, stopwatch))
    with user_errors():
        trainer = Trainer(
            **config.trainer.as_dict(),
            default_root_dir=folder,
            logger=loggers(config, folder),
            plugins=[RunCheckpointIO(to_dict(config))],
            callbacks=[
                DataCheck(folder),
                stopwatch,
                EpochSeed(config.seed),
                ResumeAfterEpoch(),
                EpochSize(),
                LogEveryEpoch(),
                StopOnNonFinite(),
                *callbacks,
                StopOnSignal(last),
                checkpoint,
            ],
            enable_progress_bar=sys.stdout.isatty(),
            enable_model_summary=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
        )
    expect_group(trainer.world_size)
    try:
        trainer.fit(run.method, datamodule=run.data, ckpt_path=last if last.is_file() else None, weights_only=True)
    except SIGTERMException as stopped:
        raise Terminated(trainer.global_step) from stopped
    if 0 in (trainer.max_epochs, trainer.max_steps):  # the untrained encoder
        trainer.save_checkpoint(last, weights_only=False)
    return trainer


def loggers(config: Namespace, folder: Path) -> list[Logger]:
    """A CSV logger, and wandb if it is installed and not disabled."""
    resolved = to_dict(config)
    arguments = tracking.init_arguments(folder, resolved)
    csv = RunCSVLogger(folder, name="logs", flush_logs_every_n_steps=1)  # a killed process loses no row
    return [csv, *([WandbLogger(save_dir=folder, **arguments)] if arguments else [])]


def print_result(folder: Path, full: bool = False) -> None:
    """Print the table of the data set of a run, and its folder.

    Args:
        folder: the run folder. The other runs of the table are those beside it.
        full: whether to print all metrics of the run before the table.
    """
    record = Record.read(folder)
    if full and record.metrics:
        print_table([record], metrics=("*",))
    print_table([other for other in read_records([folder.parent]) if same_data(other, record)])
    print(folder)
