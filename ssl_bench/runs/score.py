"""Score a run: encode every split once, run the protocols, write the record, plot."""

import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssl_bench.config.identity import config_hash, encoder_hash, global_batch, names, world_size
from ssl_bench.config.schema import Run
from ssl_bench.data.recipes import read_recipe
from ssl_bench.data.types import Batch
from ssl_bench.data.views import Views
from ssl_bench.distributed import barrier, rank
from ssl_bench.errors import RunError, UserError
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.features import Features, by_columns, extract
from ssl_bench.evaluation.run_images import images_of_run
from ssl_bench.evaluation.suite import Result, show
from ssl_bench.methods.base import Layered, Masking, Method, NoisyLayered, Reconstructive
from ssl_bench.methods.checkpoint import checkpoint_file, read_checkpoint
from ssl_bench.methods.used_weights import encoder_parameters
from ssl_bench.plots.run import plot_run
from ssl_bench.precision import autocast_dtype
from ssl_bench.results.fingerprint import Fingerprint
from ssl_bench.results.record import Record, commit, peak_memory_mb
from ssl_bench.runs import tracking

BATCH_SIZE = 256


def evaluated_encoder(run: Run, config: dict[str, Any], folder: Path, device: torch.device) -> EvaluatedEncoder:
    """The encoder of a run, with features (encoded or read from disk) and the functions that protocols use.

    Args:
        run: objects of the run; the data must be set up.
        config: resolved configuration of the run.
        folder: the run folder.
        device: device of encoding and scoring.
    """
    method = run.method.eval().float().to(device)
    autocast = autocast_dtype(config["trainer"]["precision"])
    key = encoder_hash(method, config)
    encoded = partial(extract, method.encode, run.data, device=device, autocast=autocast)

    def transform(images: Tensor, ids: Tensor) -> Tensor:
        return run.views.evaluation_input(images)

    features = encoded(transform, folder / "features", key=key)
    recipe = read_recipe(run.evaluation.augmentation) if run.evaluation.augmented_passes else []
    augment = Views(recipe, image_shape=run.data.image_shape, mean=run.data.mean, std=run.data.std)

    def augmented(images: Tensor, ids: Tensor, number: int) -> Tensor:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            # The seed depends on the pass and the images, so that the augmentation is the same in any process.
            torch.manual_seed(hash((config["seed"], number, int(ids[0]))))
            return run.views.evaluation_input(augment.to_image(augment(images)[0]))

    passes = [
        encoded(
            partial(augmented, number=number),
            folder / "features" / f"augmented-{number}",
            key=f"{key} {recipe} {number}",
        )
        for number in range(run.evaluation.augmented_passes)
    ]

    @torch.inference_mode()
    def encode(images: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            return method.encode(run.views.from_image(images)).float()

    @torch.inference_mode()
    def reconstruct(images: Tensor) -> Tensor:
        assert isinstance(method, Reconstructive)
        return method.reconstruct(run.views.from_image(images)).float()

    def layers_in(name: str, of_layers: Callable[[Tensor], list[Tensor]], least: int = 1) -> tuple[Features, ...]:
        """Features of each layer, encoded in one pass or read; empty if there are fewer than `least` layers."""
        with torch.inference_mode():
            few = of_layers(run.views.evaluation_input(a_few_images(run, device)))
        if len(few) < least:
            return ()
        side_by_side = extract(
            lambda images: torch.cat(of_layers(images), 1),
            run.data,
            transform,
            folder / "features" / name,
            key=f"{key} {name}",
            device=device,
            autocast=autocast,
        )
        return by_columns(side_by_side, [layer.shape[1] for layer in few])

    layers: tuple[Features, ...] = ()
    noisy: dict[int, tuple[Features, ...]] = {}
    if run.evaluation.layers and isinstance(method, Layered):
        layers = layers_in("layers", method.encode_layers, least=2)
    if isinstance(method, NoisyLayered) and (noise := run.evaluation.noise):
        few = run.views.evaluation_input(a_few_images(run, device))
        try:
            with torch.inference_mode():
                method.encode_noisy_layers(few, max(noise))
        except UserError:  # the model has no such t: noise_probe fails, and other protocols do not
            noisy = dict.fromkeys(noise, ())
        else:
            noisy = {t: layers_in(f"noise-{t}", partial(method.encode_noisy_layers, t=t)) for t in noise}
    return replace(
        images_of_run(run, config, folder, device),
        features=features,
        encode=encode,
        reconstruct=reconstruct if isinstance(method, Reconstructive) else None,
        reconstructions_contain_input=isinstance(method, Masking),
        augmented=tuple(passes),
        layers=layers,
        noisy=noisy,
    )


def a_few_images(run: Run, device: torch.device) -> Tensor:
    """Two test images."""
    batch: Batch = next(iter(run.data.batches("test", 2)))
    return batch.images.to(device)


def score(run: Run, config: dict[str, Any], folder: Path, device: torch.device) -> Result:
    """Score a run with the protocols of `run.evaluation`, plot figures, write its record and log the record to wandb.

    All processes must call this function; only rank 0 writes files. A run with a record is finished, so the record is
    written after the figures.

    Args:
        run: objects of the run; the data must be set up.
        config: resolved configuration of the run.
        folder: the run folder. If it has a record already, new metrics are added and recomputed metrics are replaced.
        device: device of encoding and scoring.

    Returns:
        The new metrics and failures, see `check_scored`.
    """
    seconds, epochs, images_seen = training_progress(folder)
    start = time.perf_counter()
    show("encoding ")
    title = f"{' on '.join(names(config))}, seed {config['seed']}, {epochs} epoch{'s' * (epochs != 1)}"
    encoder = replace(evaluated_encoder(run, config, folder, device), title=title)
    seconds["extract"] = time.perf_counter() - start
    show(f" {seconds['extract']:.1f} s\n")
    result: Result = run.evaluation(encoder)
    if rank() == 0:
        label, data = names(config)
        record = Record(
            method=label,
            data=data,
            seed=config["seed"],
            epochs=epochs,
            untrained=is_untrained(run.method, epochs),
            config_hash=config_hash(config),
            setting_hash=config_hash(config, seed=False),
            commit=commit(),
            command=command(),
            device=device_name(device),
            world_size=world_size(config),
            global_batch=global_batch(config) if epochs else None,
            parameters=encoder_parameters(run.method, run.views.evaluation_input(a_few_images(run, device))),
            images_seen=images_seen or None,
            uses_labels=run.method.uses_labels and epochs > 0,
            family=run.method.family,
            reference=config["reference"],
        )
        record = add_result(record, result, encoder, seconds)
        try:
            plot_run(folder, run, device, title)
        except RunError:  # a full disk: the same command scores again and plots all figures
            raise
        except Exception as error:  # for example of an external method; the scores are written all the same
            print(f"figures of {folder.name}: {type(error).__name__}: {error}", file=sys.stderr)
        record.write(folder)
        tracking.log_record(record, folder, config)
    barrier()
    return result


def is_untrained(method: Method, epochs: int) -> bool:
    """Whether a method has random weights: it was not trained, has parameters and is not pretrained."""
    pretrained = any(getattr(module, "pretrained", False) for module in method.modules())
    return epochs == 0 and not pretrained and any(True for _ in method.parameters())


def check_scored(result: Result | Record, folder: Path) -> None:
    """Check that at least one protocol has metrics.

    Args:
        result: the result of an evaluation, or the record of a run.
        folder: the run folder, for the message.

    Raises:
        RunError: all protocols failed.
    """
    if result.failed and not result.metrics:
        name, reason = next(iter(result.failed.items()))
        raise RunError(f"{folder.name}: no protocol has scores; {len(result.failed)} failed, {name}: {reason}")


def add_result(record: Record, result: Result, encoder: EvaluatedEncoder, seconds: dict[str, float]) -> Record:
    """Add the result of an evaluation to the record in the run folder, or else to a new record; return the record."""
    folder = encoder.folder
    if (folder / "metrics.json").is_file():
        record = Record.read(folder)
        record.evaluations.append(command())
    known = (
        seconds | record.seconds | result.seconds
    )  # a run that is scored again reads its features, so the first time is kept
    record.seconds = {name: round(value, 3) for name, value in known.items()}
    on_gpu = encoder.device.type == "cuda"
    peak = torch.cuda.max_memory_allocated(encoder.device) / 2**20 if on_gpu else peak_memory_mb()
    record.peak_memory_mb = max(record.peak_memory_mb, peak)
    record.metrics |= {name: float(f"{value:.9g}") for name, value in result.metrics.items()}
    record.scored |= {name: f"{source} {(commit() or '')[:7]}".strip() for name, source in result.sources.items()}
    record.failed = {name: why for name, why in record.failed.items() if name not in result.seconds} | result.failed
    record.notes = {name: note for name, note in record.notes.items() if name not in result.seconds} | result.notes
    record.skipped_targets = list(result.skipped_targets)
    known_data = Fingerprint.read(folder)
    record.fingerprint = asdict(known_data) if known_data else {}
    record.targets = [target.name for target in encoder.features.targets]
    return record


def command() -> str:
    """The command line of this process."""
    return shlex.join(["ssl-bench", *sys.argv[1:]])


def device_name(device: torch.device) -> str:
    """Name of a device for a record."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def training_progress(folder: Path) -> tuple[dict[str, float], int, int]:
    """Seconds, epochs and images of training in the last checkpoint of a run; empty and 0 without a checkpoint."""
    file = checkpoint_file(folder)
    if not file.is_file():
        return {}, 0, 0
    callbacks = read_checkpoint(file, "meta").get("callbacks", {})
    stopwatch = {"seconds": 0.0, "epochs": 0, "images": 0} | callbacks.get("Stopwatch", {})
    return {"fit": stopwatch["seconds"]}, stopwatch["epochs"], stopwatch["images"]
