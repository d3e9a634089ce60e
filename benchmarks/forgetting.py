"""Forgetting in a discriminator: one-versus-rest tasks in sequence, with and without the rotation task.

    python benchmarks/forgetting.py             train for the published number of iterations and print the table
    python benchmarks/forgetting.py --write     also write table and figure to benchmarks/results/forgetting.*

The toy experiment of Chen et al. 2019 (arXiv 1811.11212), Figure 1 of Raj & Samala: the discriminator separates one
class from all others; the positive class changes every 1,000 iterations, in two cycles through the ten classes.
Network, optimizer (at a constant learning rate), orientations and beta are those of `--method ssgan`; its flags and
those of data and views are accepted. Training is in float32.

The papers do not describe the network, the sampling of batches or the images that accuracy is measured on. Assumptions:
half of each batch is of the positive class and half of the other classes, sampled with replacement; the loss is binary
cross-entropy; all tasks share one logit, and the optimizer keeps its state when the class changes; accuracy is measured
on equally many positive and negative test images. Both variants start from the same weights and get the same batches.
"""

import argparse
import copy
import datetime
import re
import sys
import time
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from ssl_bench.config.resolve import build, resolve
from ssl_bench.config.schema import Run
from ssl_bench.config.stack import stack
from ssl_bench.errors import UserError
from ssl_bench.files import replacing
from ssl_bench.methods.ssgan import SSGAN
from ssl_bench.plots.primitives import canvas, save

VARIANTS = {"vanilla": "#4c78a8", "with rotation": "#d62728"}
CYCLES = 2
RESULTS = Path(__file__).parent / "results"


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


def train(run: Run, method: SSGAN, steps: Tensor, tests: list[Tensor], points: int, rotation: bool) -> Tensor:
    """Accuracy on the current task in percent, ``(tasks, 1 + points)``; the first value is before its first step."""
    optimizer = method.make_optimizer(method.parameter_groups(method.discriminator))
    images, every = run.data.split("train"), steps.shape[1] // points
    target = (torch.arange(steps.shape[2], device=tests[0].device) < steps.shape[2] // 2).float()
    method.train()
    found = []
    for task, indices in enumerate(steps):
        for step, index in enumerate(indices):
            if step % every == 0:
                found.append(accuracy(method, tests[task % len(tests)]))
            x = run.views(images[index].images.to(tests[0].device))[0]
            logits, terms = method.logits_and_rotation_loss(x, x if rotation else None)
            loss = F.binary_cross_entropy_with_logits(logits, target)
            if rotation:
                loss = loss + method.beta * terms["rotation"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        found.append(accuracy(method, tests[task % len(tests)]))
    return torch.tensor(found, dtype=torch.float64).view(len(steps), -1)


def measure(
    data: str, flags: list[str], repeats: int, iterations: int, points: int, count: int, device: torch.device
) -> tuple[Run, Tensor, Tensor]:
    """Train both variants with several seeds.

    Returns:
        The last run, accuracy in percent ``(variants, seeds, tasks, 1 + points)``, and accuracy of the rotation head
        on the test images of the last class in percent ``(variants, seeds)``.
    """
    if points < 1 or iterations % points:
        raise UserError(f"--points must be a divisor of the {iterations} iterations, got {points}")
    rows: list[list[Tensor]] = [[] for _ in VARIANTS]
    rotations: list[list[Tensor]] = [[] for _ in VARIANTS]
    for seed in range(repeats):
        torch.manual_seed(seed)
        run = build(resolve([*stack("ssgan", data, None), *flags]))
        assert isinstance(run.method, SSGAN)
        run.method.to(device, memory_format=torch.channels_last)
        run.data.setup()
        generator = torch.Generator().manual_seed(seed)
        steps = batches(run.data.labels("train"), iterations, run.data.batch_size, generator)
        tests = held_out(run, count, device)
        for rotation, name in enumerate(VARIANTS):
            start, method = time.perf_counter(), copy.deepcopy(run.method)
            rows[rotation].append(train(run, method, steps, tests, points, bool(rotation)))
            with torch.no_grad():
                rotations[rotation].append(
                    method.eval().logits_and_rotation_loss(tests[-1], tests[-1])[1]["rotation_accuracy"].cpu()
                )
            print(f"seed {seed}, {name}: {time.perf_counter() - start:.0f} s", flush=True)
    return run, torch.stack([torch.stack(row) for row in rows]), torch.stack([torch.stack(row) for row in rotations])


def table(found: Tensor) -> str:
    """Markdown table of the accuracy of each seed and of the paired difference with its standard error over seeds."""
    rows: dict[str, Tensor] = {}
    for number, cycle in enumerate(found.unflatten(2, (CYCLES, -1)).unbind(2), 1):
        rows[f"cycle {number}, within its tasks"] = cycle[..., 1:].mean((2, 3))
        rows[f"cycle {number}, at its tasks' ends"] = cycle[..., -1].mean(2)
        untrained = int(number == 1)  # skips the untrained network
        rows[f"cycle {number}, just after a shift"] = cycle[:, :, untrained:, 0].mean(2)
    rows["cycle 2 less cycle 1, within tasks"] = rows["cycle 2, within its tasks"] - rows["cycle 1, within its tasks"]
    rows["end of the last task"] = found[..., -1, -1]
    lines = [
        f"| accuracy in % | {' | '.join(VARIANTS)} | difference | mean difference | standard error |",
        "|---" * 6 + "|",
    ]
    for name, values in rows.items():
        gains = values[1] - values[0]
        cells = [*map(seeds, values), seeds(gains, "+"), f"{gains.mean():+.2f}"]
        cells += [f"{gains.std() / len(gains) ** 0.5:.2f}" if len(gains) > 1 else "-"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def conclusion(found: Tensor, iterations: int) -> str:
    """State whether the final accuracy is higher with the rotation task, as the papers report."""
    gains = found[1, :, -1, -1] - found[0, :, -1, -1]
    holds = "is higher" if (gains > 0).all() else "is not higher"
    return (
        f"Accuracy at the end of the second cycle {holds} with rotation for every seed. The papers report that it is "
        f"higher, with tasks of 1,000 iterations ({iterations:,} here) and a network that they do not describe."
    )


def seeds(values: Tensor, sign: str = "") -> str:
    """Format one number per seed."""
    return " / ".join(f"{value:{sign}.1f}" for value in values.tolist())


def figure(found: Tensor, iterations: int) -> Figure:
    """Figure of the accuracy during training, mean and standard deviation over seeds, one panel per variant."""
    tasks, points = found.shape[2:]
    x = (torch.arange(tasks)[:, None] * iterations + torch.linspace(0, iterations, points)).flatten()
    picture = canvas(9, 3)
    panels = picture.subplots(1, len(VARIANTS), sharey=True)
    for ax, values, (name, colour) in zip(panels, found.flatten(2), VARIANTS.items(), strict=True):
        mean = values.mean(0)
        spread = values.std(0) if len(values) > 1 else torch.zeros_like(mean)
        ax.fill_between(
            x, mean - spread, mean + spread, color=colour, alpha=0.25, linewidth=0, label="± 1 sd over seeds"
        )
        ax.plot(x, mean, color=colour, linewidth=1.2, label="mean over seeds")
        ax.axhline(50, color="grey", linewidth=0.8, linestyle=":", label="chance")
        ax.axvline(tasks * iterations / CYCLES, color="black", linewidth=1, linestyle="--", label="second cycle")
        ax.set(title=name, xlabel="iteration", xlim=(0, tasks * iterations))
        ax.locator_params(axis="x", nbins=5)
        ax.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("test accuracy in %")
    handles, labels = panels[0].get_legend_handles_labels()
    picture.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--iterations", type=int, default=1000, help="iterations of a task")
    parser.add_argument("--points", type=int, default=10, help="measurements per task")
    parser.add_argument("--tested", type=int, default=1000, help="test images per measurement")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    options, flags = parser.parse_known_args()
    start = time.perf_counter()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run, found, rotations = measure(
        options.data, flags, options.seeds, options.iterations, options.points, options.tested, device
    )
    command = re.sub(r"(--data\.root[= ])\S*/(?=[^\s/])", r"\1", " ".join(sys.argv[1:]))
    assert isinstance(run.method, SSGAN)
    network = run.method.discriminator
    size = sum(weights.numel() for weights in network.parameters())
    text = (
        f"# Forgetting\n\n`python benchmarks/forgetting.py {command}`, {datetime.date.today()}, "
        f"{time.perf_counter() - start:.0f} s, {device}, {torch.get_num_threads()} threads, torch {torch.__version__}."
        f"\n\n{found.shape[2]} tasks of {options.iterations} iterations, batches of {run.data.batch_size} images "
        f"{tuple(run.data.image_shape)}, {type(network.network).__name__} of {size:,} weights, rotation weight "
        f"{run.method.beta:g}; accuracy on {2 * (options.tested // 2)} test images of the task, half of them "
        f"positive. Cells show one number per seed.\n\n{table(found)}\n\n"
        f"Accuracy of the rotation head at the end, in % (chance 25): {seeds(rotations[0])} for vanilla, whose head is "
        f"untrained, and {seeds(rotations[1])} with rotation.\n\n{conclusion(found, options.iterations)}\n"
    )
    print(text)
    if options.write:
        save(figure(found, options.iterations), RESULTS / "forgetting.png")
        with replacing(RESULTS / "forgetting.md") as file:
            file.write_text(text + "\n![Accuracy during training](forgetting.png)\n", encoding="utf-8")


if __name__ == "__main__":
    main()
