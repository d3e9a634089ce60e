"""Forgetting in a discriminator: one-versus-rest tasks in sequence, with and without the rotation task.

    python benchmarks/forgetting.py --seeds 0            train one seed, unless it is recorded
    python benchmarks/forgetting.py --seeds 0 1 2        and print the tables of three
    python benchmarks/forgetting.py --seeds 0 1 2 --write    and write them to benchmarks/results/forgetting.md

The toy experiment of Chen et al. 2019 (arXiv 1811.11212), Figure 1 of Raj & Samala: the discriminator separates one
class from all others; the positive class changes every 1,000 iterations, in two cycles through the ten classes.
Network, optimizer (at a constant learning rate), orientations and beta are those of `--method ssgan`; its flags and
those of data and views are accepted. Training is in float32. Each seed is recorded in its own file in --out, so that
several commands can train several seeds.

The papers do not describe the network, the sampling of batches or the images that accuracy is measured on. Assumptions:
half of each batch is of the positive class and half of the other classes, sampled with replacement; the loss is binary
cross-entropy; all tasks share one logit, and the optimizer keeps its state when the class changes; accuracy is measured
on equally many positive and negative test images. Both variants start from the same weights and get the same batches.
After every task, a linear probe of all ten classes is fitted to the features of the discriminator.
"""

import argparse
import copy
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.forgetting_results import CYCLES, VARIANTS, figure, measured_at, per_seed, recovery, table
from benchmarks.rounds import provenance, write
from ssl_bench.api.arrays import evaluate
from ssl_bench.config.resolve import build, resolve
from ssl_bench.config.schema import Run
from ssl_bench.config.stack import stack
from ssl_bench.files import replacing
from ssl_bench.methods.ssgan import SSGAN
from ssl_bench.plots.primitives import save

PROBED = 5000
"""Most images of a split of the linear probe, chosen at random."""
RESULTS = Path(__file__).parent / "results"
Seed = dict[str, list[Any]]
"""Results of a seed: ``accuracy`` ``(variants, tasks, points)``, ``probe`` ``(variants, tasks)``, ``rotation``
``(variants,)``, all in percent."""


def halves(labels: Tensor, positive: int) -> tuple[Tensor, Tensor]:
    """Indices of the images of the positive class and of all other images."""
    chosen = labels == positive
    return chosen.nonzero()[:, 0], (~chosen).nonzero()[:, 0]


def batches(labels: Tensor, iterations: int, batch: int, generator: torch.Generator) -> Tensor:
    """Indices of the images of every step, int64 ``(CYCLES * classes, iterations, batch)``.

    The first half of a batch is positive. The rotation task rotates every fourth image, so it rotates both kinds.
    """
    classes, found = int(labels.max()) + 1, []
    for task in range(CYCLES * classes):
        sampled = [
            rows[torch.randint(len(rows), (iterations, batch // 2), generator=generator)]
            for rows in halves(labels, task % classes)
        ]
        found.append(torch.cat(sampled, 1))
    return torch.stack(found)


def held_out(run: Run, count: int, device: torch.device) -> list[Tensor]:
    """Normalised test images ``(n, C, H, W)`` of each class, at most `count`; the first half are of that class."""
    labels, generator = run.data.labels("test"), torch.Generator().manual_seed(0)
    found = []
    for positive in range(int(labels.max()) + 1):
        parts = halves(labels, positive)
        n = min(count // 2, *map(len, parts))
        rows = torch.cat([part[torch.randperm(len(part), generator=generator)[:n]] for part in parts])
        found.append(run.views.evaluation_input(run.data.split("test")[rows].images.to(device)))
    return found


@torch.no_grad()
def accuracy(method: SSGAN, images: Tensor) -> float:
    """Accuracy in percent on images whose first half is positive."""
    method.eval()
    positive, negative = torch.cat([method.logits(part) for part in images.split(500)]).chunk(2)
    method.train()
    return 50 * ((positive > 0).double().mean() + (negative <= 0).double().mean()).item()


@torch.no_grad()
def probe(run: Run, method: SSGAN, device: torch.device) -> float:
    """Accuracy in percent of a linear probe of all classes on the features of the discriminator."""
    method.eval()
    pairs = {}
    for split in ("train", "test"):
        images = run.data.split(split)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
        parts = [images[rows] for rows in order[:PROBED].split(500)]
        features = [method.discriminator.features(run.views.evaluation_input(part.images.to(device))) for part in parts]
        pairs[split] = torch.cat(features).float(), torch.cat([part.labels for part in parts])
    method.train()
    found = evaluate(train=pairs["train"], test=pairs["test"], protocols=["linear_probe"], device=device)
    return found["linear_probe/accuracy"]


def train(
    run: Run, method: SSGAN, steps: Tensor, tests: list[Tensor], rotation: bool
) -> tuple[list[list[float]], list[float]]:
    """Accuracy on the current task in percent, a list of each task, and of the linear probe after each task."""
    optimizer = method.make_optimizer(method.parameter_groups(method.discriminator))
    images, points, device = run.data.split("train"), measured_at(steps.shape[1]), tests[0].device
    target = (torch.arange(steps.shape[2], device=device) < steps.shape[2] // 2).float()
    method.train()
    found, probes = [], []
    for task, indices in enumerate(steps):
        curve = []
        for step, index in enumerate(indices):
            if step in points:
                curve.append(accuracy(method, tests[task % len(tests)]))
            x = run.views(images[index].images.to(device))[0]
            logits, terms = method.logits_and_rotation_loss(x, x if rotation else None)
            loss = F.binary_cross_entropy_with_logits(logits, target)
            if rotation:
                loss = loss + method.beta * terms["rotation"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        found.append([*curve, accuracy(method, tests[task % len(tests)])])
        probes.append(probe(run, method, device))
    return found, probes


def prepare(data: str, flags: list[str], seed: int, device: torch.device) -> Run:
    """The network and the data of a seed."""
    torch.manual_seed(seed)
    run = build(resolve([*stack("ssgan", data, None), *flags]))
    assert isinstance(run.method, SSGAN)
    run.method.to(device, memory_format=torch.channels_last)
    run.data.setup()
    return run


def measure(run: Run, seed: int, iterations: int, tested: int, device: torch.device) -> Seed:
    """Train both variants from the same weights, on the same batches."""
    assert isinstance(run.method, SSGAN)
    generator = torch.Generator().manual_seed(seed)
    steps = batches(run.data.labels("train"), iterations, run.data.batch_size, generator)
    tests = held_out(run, tested, device)
    result: Seed = {"accuracy": [], "probe": [], "rotation": []}
    for rotation, name in enumerate(VARIANTS):
        start, method = time.perf_counter(), copy.deepcopy(run.method)
        curves, probes = train(run, method, steps, tests, bool(rotation))
        with torch.no_grad():
            terms = method.eval().logits_and_rotation_loss(tests[-1], tests[-1])[1]
        for key, values in {"accuracy": curves, "probe": probes, "rotation": terms["rotation_accuracy"].item()}.items():
            result[key].append(values)
        print(f"seed {seed}, {name}: {time.perf_counter() - start:.0f} s", flush=True)
    return result


def recorded(file: Path, settings: dict[str, Any]) -> Seed | None:
    """The results in the file of a seed; None if it does not exist.

    Raises:
        SystemExit: they were made with other settings.
    """
    if not file.is_file():
        return None
    known = json.loads(file.read_text(encoding="utf-8"))
    if known["settings"] != settings:
        raise SystemExit(f"{file} has other settings, {known['settings']}: give another --out, or delete it")
    found: Seed = known["found"]
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the missing seeds, print the tables and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--iterations", type=int, default=1000, help="iterations of a task")
    parser.add_argument("--tested", type=int, default=1000, help="test images per measurement")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/forgetting"), help="folder of the files of the seeds")
    parser.add_argument("--write", action="store_true")
    options, flags = parser.parse_known_args(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    origin = provenance(device.type)
    words = re.sub(r"--data\.root[= ]\S+", "", " ".join(flags)).split()
    settings = {"data": options.data, "iterations": options.iterations, "tested": options.tested, "flags": words}
    runs: list[Seed] = []
    made: list[str] = []
    for seed in options.seeds:
        file = options.out / f"seed{seed}.json"
        if (found := recorded(file, settings)) is None:
            run = prepare(options.data, flags, seed, device)
            found = measure(run, seed, options.iterations, options.tested, device)
            options.out.mkdir(parents=True, exist_ok=True)
            with replacing(file) as part:
                content = {"settings": settings, "origin": origin, "found": found}
                part.write_text(json.dumps(content) + "\n", encoding="utf-8")
        runs.append(found)
        made.append(f"- seed {seed}: {json.loads(file.read_text(encoding='utf-8'))['origin']}.")
    accuracies, probes, rotations = (
        torch.tensor([one[key] for one in runs], dtype=torch.float64).transpose(0, 1)
        for key in ("accuracy", "probe", "rotation")
    )
    run = prepare(options.data, flags, 0, device)
    assert isinstance(run.method, SSGAN)
    network = run.method.discriminator
    size = sum(weights.numel() for weights in network.parameters())
    newline = "\n"
    text = f"""# Forgetting

{newline.join(made)}

{accuracies.shape[2]} tasks of {options.iterations:,} iterations, batches of {run.data.batch_size} images
{tuple(run.data.image_shape)}, {type(network.network).__name__} of {size:,} weights, rotation weight
{run.method.beta:g}; accuracy on {2 * (options.tested // 2):,} test images of the task, half of them positive. Cells
show one number per seed. Means within tasks are over iterations.

{table(accuracies, probes, options.iterations)}

Recovery after a change of the class, means over tasks and seeds; cycle 1 without its first task:

{recovery(accuracies, options.iterations)}

Accuracy of the rotation head at the end, in % (chance 25): {per_seed(rotations[0])} for vanilla, whose head is
untrained, and {per_seed(rotations[1])} with rotation.
"""
    print(text)
    if options.write:
        save(figure(accuracies, probes, options.iterations), RESULTS / "forgetting.png")
        write("forgetting", text + "\n![Accuracy during training, and of the linear probe](forgetting.png)\n")


if __name__ == "__main__":
    main()
