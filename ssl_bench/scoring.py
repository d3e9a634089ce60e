"""From a trained method to its record: encode every split once, run the protocols, draw."""

import hashlib
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import torch

from ssl_bench.evaluation.features import extract
from ssl_bench.experiment import Run, config_hash, names
from ssl_bench.figures import draw
from ssl_bench.methods.base import Method
from ssl_bench.results import Record, commit, peak_memory_mb

AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def score(run: Run, config: dict[str, Any], folder: Path, device: torch.device) -> None:
    """Score a run's method on all protocols that `run.evaluation` names, and record, draw and log what came out.

    Args:
        run: the objects; the data are set up.
        config: the resolved configuration that the run folder is of.
        folder: the run folder; figures of a record it already has are kept where they are not computed anew.
        device: where to encode and score.
    """
    method = run.method.eval().float().to(device)
    seconds, epochs = fitted(folder)
    start = time.perf_counter()
    features = extract(
        method.encode,
        run.data,
        run.views.plain,
        folder / "features",
        key=encoder_hash(method, config),
        device=device,
        autocast=AUTOCAST.get(str(config["trainer"]["precision"])),
    )
    seconds["extract"] = time.perf_counter() - start
    result = run.evaluation(features, device)
    command = shlex.join(["ssl-bench", *sys.argv[1:]])
    if (folder / "metrics.json").is_file():
        record = Record.read(folder)
        record.evaluations.append(command)
    else:
        label, data = names(config)
        record = Record(
            method=label,
            data=data,
            seed=config["seed"],
            epochs=epochs,
            config_hash=config_hash(config),
            setting_hash=config_hash(config, seed=False),
            commit=commit(),
            command=command,
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            reference=config["reference"],
        )
    record.seconds |= {name: round(value, 3) for name, value in (seconds | result.seconds).items()}
    on_gpu = device.type == "cuda"
    record.peak_memory_mb = torch.cuda.max_memory_allocated(device) / 2**20 if on_gpu else peak_memory_mb()
    record.metrics |= {name: round(value, 6) for name, value in result.metrics.items()}
    record.failed = {name: why for name, why in record.failed.items() if name not in result.seconds} | result.failed
    record.left_out = list(result.left_out)
    record.write(folder)
    figures: list[Path] = []
    try:
        figures = draw(folder, run, features, device)
    except Exception as error:  # a picture of somebody's method that cannot be drawn takes no scores with it
        print(f"figures: {type(error).__name__}: {error}", file=sys.stderr)
    log_to_wandb(record, figures)


def encoder_hash(method: Method, config: dict[str, Any]) -> str:
    """Hash of the weights and of what is encoded: the same means the same features."""
    digest = hashlib.sha256(json.dumps([config["data"], config["views"], config["trainer"]["precision"]]).encode())
    for name, tensor in method.state_dict().items():
        digest.update(name.encode() + tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def fitted(folder: Path) -> tuple[dict[str, float], int]:
    """Seconds of fitting and whole epochs, by the stopwatch in a run's last checkpoint."""
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", map_location="meta", weights_only=True)
    stopwatch = checkpoint["callbacks"].get("Stopwatch", {"seconds": 0.0, "epochs": 0})
    return {"fit": stopwatch["seconds"]}, stopwatch["epochs"]


def log_to_wandb(record: Record, figures: list[Path]) -> None:
    """Put the record's metrics into the open wandb run's summary under their own names, and the figures beside."""
    wandb = sys.modules.get("wandb")
    if wandb is None or wandb.run is None:
        return
    wandb.run.summary.update(record.metrics)
    wandb.run.log({f"figures/{path.stem}": wandb.Image(str(path)) for path in figures})
    wandb.finish()
