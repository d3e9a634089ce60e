"""Presets on digits compared with their untrained networks.

    python benchmarks/presets.py            print the table
    python benchmarks/presets.py --write    also write it to benchmarks/results/presets.md

Every method of `ssl-bench list` is trained on digits with its preset. The network is scored untrained (0 epochs) and
after training, with the same seeds. A preset passes if linear probe and 5-NN (cosine) are better after training on
average over the seeds and, if the method samples images, the mean Frechet distance between samples and data is at most
half of that before training. It is computed from mean and covariance of raw pixels. One of the 359 test images is 0.28
percentage points, so a difference should be read with its standard error over the seeds. The exit code is 1 if a preset
fails.

`--seeds N` sets the number of seeds, by default 3: 0, 1 and 2. Other flags are passed to all `ssl-bench bench`
commands, for example `--trainer.accelerator cpu`.
"""

import argparse
import contextlib
import io
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean as mean
from statistics import stdev

import torch
from torch import Tensor

from benchmarks.rounds import provenance, write
from ssl_bench.catalogue import config_names
from ssl_bench.cli import main as ssl_bench
from ssl_bench.data import Digits
from ssl_bench.evaluation.generative.frechet import Statistics, Sums, frechet_distance
from ssl_bench.methods.base import Generative
from ssl_bench.methods.checkpoint import load_method
from ssl_bench.results.record import Record
from ssl_bench.results.settings import WITH_LABELS

GENERATORS = {"inversion": "stylegan2"}
"""Methods that need a run of another method, with the name of that method."""


@dataclass
class Scores:
    """Results of one run.

    Attributes:
        epochs: epochs of training.
        seconds: seconds of training.
        probe: accuracy of the linear probe in percent.
        neighbours: accuracy of 5-NN with cosine similarity in percent.
        distance: Frechet distance between samples and data; None if the method does not sample images.
        uses_labels: whether the encoder was trained with labels.
    """

    epochs: int
    seconds: float
    probe: float
    neighbours: float
    distance: float | None
    uses_labels: bool = False


def presets() -> dict[str, list[str]]:
    """Arguments of `ssl-bench bench` by preset: each method on digits, and the variants in configs/experiment."""
    variants = [
        name for name in config_names("experiment") if name.split("-")[1:2] == ["digits"] and name.count("-") > 1
    ]
    methods = {name: [f"--method={name}", "--data=digits"] for name in config_names("method")}
    return methods | {name: [f"--experiment={name}"] for name in sorted(variants)}


def bench(arguments: list[str], out: Path) -> Path:
    """Run `ssl-bench bench`; the run folder.

    Raises:
        SystemExit: the command failed.
    """
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        code = ssl_bench(["bench", *arguments, f"--out={out}", "--evaluation.protocols=[linear_probe,knn]"])
    if code:
        raise SystemExit(f"ssl-bench bench {' '.join(arguments)}: exit code {code}\n{output.getvalue()}")
    return Path(output.getvalue().split()[-1])


def pixel_statistics(images: Tensor) -> Statistics:
    """Mean and covariance of the pixels of images in [0, 1]."""
    sums = Sums(images[0].numel(), images.device)
    sums.add(images.flatten(1))
    return sums.statistics()


def scores(folder: Path, data: Tensor) -> Scores:
    """Scores of a run.

    Args:
        folder: run folder.
        data: images in [0, 1]; as many images are sampled.
    """
    method, record, distance = load_method(folder), Record.read(folder), None
    if isinstance(method, Generative):
        with torch.no_grad():
            samples = method.sample(len(data), torch.Generator().manual_seed(0))
        distance = frechet_distance(pixel_statistics(samples), pixel_statistics(data))
    probe, neighbours = (record.metrics.get(f"{name}/accuracy", math.nan) for name in ("linear_probe", "knn_5"))
    return Scores(record.epochs, record.seconds.get("fit", 0.0), probe, neighbours, distance, record.uses_labels)


def passes(untrained: Sequence[Scores], trained: Sequence[Scores]) -> bool:
    """Whether trained networks are better than untrained ones in the mean of all scores over seeds."""
    distances = [(before.distance, after.distance) for before, after in zip(untrained, trained, strict=True)]
    halved = [after - before / 2 for before, after in distances if before is not None and after is not None]
    better = all(mean(differences(untrained, trained, score)) > 0 for score in ("probe", "neighbours"))
    return better and (not halved or mean(halved) <= 0)


def differences(untrained: Sequence[Scores], trained: Sequence[Scores], score: str) -> list[float]:
    """Improvement of a score with each seed."""
    return [getattr(after, score) - getattr(before, score) for before, after in zip(untrained, trained, strict=True)]


def row(name: str, untrained: Sequence[Scores], trained: Sequence[Scores]) -> str:
    """Row of the table: means over seeds, and differences with their standard error."""
    cells = []
    for score in ("probe", "neighbours"):
        change = differences(untrained, trained, score)
        error = f" ± {stdev(change) / math.sqrt(len(change)):.1f}" if len(change) > 1 else ""
        before, after = (mean([getattr(run, score) for run in runs]) for runs in (untrained, trained))
        cells.append(f"{before:.1f} -> {after:.1f} ({mean(change):+.1f}{error})")
    distances = [[run.distance for run in runs if run.distance is not None] for runs in (untrained, trained)]
    cells += [" -> ".join(f"{mean(found):.2f}" for found in distances if found)]
    cells += ["pass" if passes(untrained, trained) else "fail"]
    name += f" {WITH_LABELS}" if trained[0].uses_labels else ""
    return f"| {name} | {trained[0].epochs} | {mean([run.seconds for run in trained]):.0f} | {' | '.join(cells)} |"


def main(arguments: list[str] | None = None) -> int:
    """Train and score presets and print the table; the exit code is 1 if a preset fails."""
    known = presets()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--methods", nargs="+", choices=known, default=list(known), metavar="NAME", help="default all")
    parser.add_argument("--seeds", type=int, default=3, choices=range(1, 101), metavar="N", help="default 3")
    parser.add_argument("--write", action="store_true")
    options, flags = parser.parse_known_args(arguments)
    origin = provenance()
    digits = Digits().read()
    data = digits.images[torch.arange(len(digits.labels))] / 255
    lines = ["| method | epochs | seconds | linear probe | 5-NN | Frechet distance | result |", "|---" * 7 + "|"]
    failed, start = [], time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary)
        for name in options.methods:
            untrained, trained = [], []
            for seed in range(options.seeds):
                seeded = [*flags, f"--seed={seed}"]
                run = [*known[name], *seeded]
                if generator := GENERATORS.get(name.split("-")[0]):
                    run.append(f"--method.generator={bench([*known[generator], *seeded], out)}")
                untrained.append(scores(bench([*run, "--epochs=0"], out), data))
                trained.append(scores(bench(run, out), data))
            lines.append(row(name, untrained, trained))
            print(lines[-1], file=sys.stderr)
            if not passes(untrained, trained):
                failed.append(name)
    text = f"""# Presets on digits

{origin}. {(time.perf_counter() - start) / 60:.0f} minutes.

Means of the untrained network -> after training over {options.seeds} seed{"s" * (options.seeds > 1)}; in
parentheses the difference and its standard error. Accuracies in percent. The Frechet distance compares mean and
covariance of the pixels of {len(data):,} samples with those of the data. Seconds are those of one training.
A method passes if linear probe and 5-NN are better on average after training and, if it samples images, the Frechet
distance is at most half of that before.

{chr(10).join(lines)}
"""
    print(text)
    if options.write:
        write("presets", text)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
