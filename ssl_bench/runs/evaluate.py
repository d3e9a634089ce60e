"""`ssl-bench evaluate`: score a run, an external encoder, a baseline or a file of features without training."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning import seed_everything
from torch import Tensor, device

from ssl_bench.config.agreement import load_run_method, read_config
from ssl_bench.config.identity import config_hash, digest, run_folder
from ssl_bench.config.names import as_name, check_name
from ssl_bench.config.resolve import build, resolve, to_dict
from ssl_bench.config.schema import Run
from ssl_bench.data.fingerprint import record_data
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.feature_file import read_features
from ssl_bench.files import remove_unfinished
from ssl_bench.lock import folder_lock
from ssl_bench.methods.frozen import Frozen
from ssl_bench.results.record import Record, commit
from ssl_bench.runs import tracking
from ssl_bench.runs.checks import check_feature_file, check_links, check_record
from ssl_bench.runs.evaluation_settings import read_evaluation
from ssl_bench.runs.launch import is_first, launch
from ssl_bench.runs.moved_data import check_moved_data
from ssl_bench.runs.quiet import prepare_process
from ssl_bench.runs.refused import removed_if_refused
from ssl_bench.runs.score import add_result, check_scored, command, device_name, score
from ssl_bench.runs.train import make_folder, print_result
from ssl_bench.runs.trainer_checks import check_accelerator

BATCH_SIZE = 1024
OWN_DATA = "give the folder of the data of the run with --data.root"


def evaluate_run(folder: Path, devices: str, flags: list[str], wait: bool = False) -> None:
    """Score the last checkpoint of a run, and add the metrics to its record.

    Args:
        folder: the run folder.
        devices: number of processes, or ``auto``.
        flags: settings of the evaluation that differ from those of the run, and ``--data.root`` if the data have been
            moved; neither changes the configuration of the run.
        wait: see `bench`.
    """
    config = read_config(folder)
    if "features" in config:
        data = check_name(f"{folder / 'config.yaml'}: data", str(config["data"]))  # a part of a path
        labels = Path(config["labels"]) if config["labels"] else None
        return evaluate_file(Path(config["features"]), labels, data, folder.parent, devices, flags, wait)
    recorded = ["--config", str(folder / "config.yaml")]
    stacked, resolved = resolve([*recorded, *flags]), to_dict(resolve(recorded))
    with folder_lock(folder, wait, first=is_first()):
        check_record(folder, config_hash(config))
        if is_first():
            remove_unfinished(folder)
        score_encoder(stacked, resolved, folder, devices, OWN_DATA)


def evaluate_encoder(arguments: list[str], out: Path, devices: str, wait: bool = False) -> None:
    """Score a baseline or an external encoder.

    Args:
        arguments: configuration files and flags, in the order in which they are stacked.
        out: folder of the run folders.
        devices: number of processes, or ``auto``.
        wait: see `bench`.
    """
    config = resolve(arguments)
    check_accelerator(config.trainer.accelerator)
    resolved = to_dict(config)
    folder = run_folder(resolved, out)
    check_links(folder)
    with folder_lock(folder, wait, first=is_first()), removed_if_refused(folder):
        check_record(folder, config_hash(resolved))
        check_moved_data(config, folder)
        if is_first():
            make_folder(folder, resolved)
        score_encoder(config, resolved, folder, devices)


def score_encoder(config: Namespace, recorded: dict[str, Any], folder: Path, devices: str, advice: str = "") -> None:
    """Score an encoder without training it, in one process per device.

    Args:
        config: the configuration to score by.
        recorded: the configuration of the run folder, which differs only in settings of the evaluation.
        folder: the run folder.
        devices: number of processes, or ``auto``.
        advice: what to do if the data are not those of the run folder, see `check_data`.
    """
    start = time.perf_counter()
    prepare_process()
    fabric = launch(devices, cpu=config.trainer.accelerator == "cpu")
    seed_everything(config.seed, workers=True, verbose=False)
    with fabric.rank_zero_first(local=True):
        run = build(config)
        run.data.prepare_data()
    run.data.setup()
    if fabric.is_global_zero:
        print(run.data.summary(), flush=True)
    record_data(run.data, folder, advice)
    if isinstance(run.method, Frozen):
        run.method.eval().to(fabric.device).prepare(lambda: training_images(run, fabric.device))
    else:
        run.method = load_run_method(folder, recorded)
    result = score(run, recorded, folder, fabric.device)
    if fabric.is_global_zero:
        print(f"total {time.perf_counter() - start:.1f} s", flush=True)
        print_result(folder, full=True)
    check_scored(result, folder)


def training_images(run: Run, on: device) -> Iterator[Tensor]:
    """This process's share of the training images, as inputs of the encoder."""
    for batch in run.data.batches("train", BATCH_SIZE, shared=True):
        yield run.views.evaluation_input(batch.images.to(on, non_blocking=True))


def evaluate_file(
    path: Path,
    labels: Path | None,
    data: str | None,
    out: Path,
    devices: str,
    flags: list[str],
    wait: bool = False,
) -> None:
    """Score features in a file.

    Args:
        path: path of the file, see `read_features`.
        labels: path of the labels of features in a ``.npy`` file.
        data: name of the data set in the table; by default the name of the file, with ``_`` for invalid characters.
        out: folder of the run folders.
        devices: number of processes, or ``auto``.
        flags: settings of the evaluation.
        wait: see `bench`.
    """
    prepare_process()
    evaluation, settings = read_evaluation(flags, "ssl-bench evaluate")
    check_feature_file(path)
    name = as_name(path.stem)
    data = check_name("--data", data) if data is not None else name
    fabric = launch(devices)
    features = read_features(path, labels)
    recorded = {
        "features": str(path.resolve()),
        "labels": str(labels.resolve()) if labels else None,
        "data": data,
        "evaluation": settings,
    }
    stamp = [(file.stat().st_size, file.stat().st_mtime_ns) for file in (path, labels) if file]
    hashed = digest([recorded["features"], recorded["labels"], stamp])
    folder = out / f"{name}-{data}-{hashed}"
    check_links(folder)
    with folder_lock(folder, wait, first=fabric.is_global_zero), removed_if_refused(folder):
        check_record(folder, hashed)
        if fabric.is_global_zero and not (folder / "config.yaml").is_file():
            make_folder(folder, recorded)
        fabric.barrier()
        result = evaluation(encoder := EvaluatedEncoder(features, fabric.device, folder, f"{name} on {data}"))
        if fabric.is_global_zero:
            record = Record(
                method=name,
                data=data,
                seed=0,
                epochs=0,
                config_hash=hashed,
                setting_hash=hashed,
                commit=commit(),
                command=command(),
                device=device_name(fabric.device),
            )
            record = add_result(record, result, encoder, {})
            record.write(folder)
            tracking.log_record(record, folder, recorded)
    if fabric.is_global_zero:
        print_result(folder, full=True)
    check_scored(result, folder)
