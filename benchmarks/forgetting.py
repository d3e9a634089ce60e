"""Does a discriminator forget? One class against the rest, class after class, with and without the rotation task.

    python benchmarks/forgetting.py             the published lengths; prints the table
    python benchmarks/forgetting.py --write     and keeps it and the figure in benchmarks/results/forgetting.*

The toy of Chen et al. 2019 (arXiv 1811.11212), Figure 1 of Raj & Samala: the positive class changes every 1,000
iterations, two cycles through the ten classes. Of `--method ssgan` the discriminator, its optimizer at a constant rate,
orientations and beta hold, and their flags, as do those of data and views; it trains in float32. The papers do not say
how batches were drawn, what network it was, or on which images accuracy was taken. Assumed: half of each batch is of
the positive class and half of all others, with replacement; the logit's loss is binary cross-entropy; one logit serves
all tasks and the optimizer's state is kept over the shifts; accuracy is of as many positive as negative test images.
Both variants start from the same weights and see the same batches.
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

from ssl_bench.config.files import stack
from ssl_bench.config.resolve import build, resolve
from ssl_bench.config.schema import Run
from ssl_bench.errors import UserError
from ssl_bench.files import replacing
from ssl_bench.methods.ssgan import SSGAN
from ssl_bench.plots.primitives import canvas, save

VARIANTS = {"vanilla": "#4c78a8", "with rotation": "#d62728"}
CYCLES = 2
RESULTS = Path(__file__).parent / "results"


def halves(labels: Tensor, positive: int) -> tuple[Tensor, Tensor]:
    """Images of the positive class, and all others."""
    chosen = labels == positive
    return chosen.nonzero()[:, 0], (~chosen).nonzero()[:, 0]


def batches(labels: Tensor, iterations: int, batch: int, generator: torch.Generator) -> Tensor:
    """The images of every step, int64 ``(CYCLES * classes, iterations, batch)``.

    Positives, then negatives: the rotation task turns every fourth image.
    """
    classes, found = int(labels.max()) + 1, []
    for task in range(CYCLES * classes):
        drawn = [
            rows[torch.randint(len(rows), (iterations, batch // 2), generator=generator)]
            for rows in halves(labels, task % classes)
        ]
        found.append(torch.cat(drawn, 1))
    return torch.stack(found)


def held_out(run: Run, count: int, device: torch.device) -> list[Tensor]:
    """For each class `count` images at most, the first half of which are of it: ``(n, C, H, W)`` for the network."""
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
    """In percent, of images the first half of which are positive."""
    method.eval()
    positive, negative = torch.cat([method.logits(part) for part in images.split(500)]).chunk(2)
    method.train()
    return 50 * ((positive > 0).double().mean() + (negative <= 0).double().mean()).item()


def train(run: Run, method: SSGAN, steps: Tensor, tests: list[Tensor], points: int, rotation: bool) -> Tensor:
    """Accuracy on the task at hand in percent, ``(tasks, 1 + points)``, the first before its first step."""
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
    """The last run, accuracy in percent ``(variants, seeds, tasks, 1 + points)`` and turns told ``(variants, seeds)``.

    The turns are those of the last class's test images, in percent.
    """
    if points < 1 or iterations % points:
        raise UserError(f"{iterations} iterations in {points} parts: give a number of --points that divides them")
    rows: list[list[Tensor]] = [[] for _ in VARIANTS]
    turns: list[list[Tensor]] = [[] for _ in VARIANTS]
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
                turns[rotation].append(
                    method.eval().logits_and_rotation_loss(tests[-1], tests[-1])[1]["rotation_accuracy"].cpu()
                )
            print(f"seed {seed}, {name}: {time.perf_counter() - start:.0f} s", flush=True)
    return run, torch.stack([torch.stack(row) for row in rows]), torch.stack([torch.stack(row) for row in turns])


def table(found: Tensor) -> str:
    """Markdown: accuracy of each seed, and the paired difference with its standard error over the seeds."""
    rows: dict[str, Tensor] = {}
    for number, cycle in enumerate(found.unflatten(2, (CYCLES, -1)).unbind(2), 1):
        rows[f"cycle {number}, within its tasks"] = cycle[..., 1:].mean((2, 3))
        rows[f"cycle {number}, at its tasks' ends"] = cycle[..., -1].mean(2)
        untrained = int(number == 1)  # before the first task
        rows[f"cycle {number}, just after a shift"] = cycle[:, :, untrained:, 0].mean(2)
    rows["cycle 2 less cycle 1, within tasks"] = rows["cycle 2, within its tasks"] - rows["cycle 1, within its tasks"]
    rows["end of the last task"] = found[..., -1, -1]
    lines = [f"| accuracy in % | {' | '.join(VARIANTS)} | difference | its mean | standard error |", "|---" * 6 + "|"]
    for name, values in rows.items():
        gains = values[1] - values[0]
        cells = [*map(seeds, values), seeds(gains, "+"), f"{gains.mean():+.2f}"]
        cells += [f"{gains.std() / len(gains) ** 0.5:.2f}" if len(gains) > 1 else "-"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def verdict(found: Tensor, iterations: int) -> str:
    """Whether the papers' claim holds here, that in the end accuracy is higher with the rotation task."""
    gains = found[1, :, -1, -1] - found[0, :, -1, -1]
    holds = "is higher" if (gains > 0).all() else "is not higher"
    return (
        f"Accuracy at the end of the second cycle {holds} with rotation for every seed; the papers' is, with tasks of "
        f"1,000 iterations for the {iterations:,} here and a network that they do not describe."
    )


def seeds(values: Tensor, sign: str = "") -> str:
    """One number for each seed."""
    return " / ".join(f"{value:{sign}.1f}" for value in values.tolist())


def figure(found: Tensor, iterations: int) -> Figure:
    """Accuracy as training goes, its mean and standard deviation over the seeds: a panel for each variant."""
    tasks, points = found.shape[2:]
    x = (torch.arange(tasks)[:, None] * iterations + torch.linspace(0, iterations, points)).flatten()
    picture = canvas(9, 3)
    panels = picture.subplots(1, len(VARIANTS), sharey=True)
    for ax, values, (name, colour) in zip(panels, found.flatten(2), VARIANTS.items(), strict=True):
        mean = values.mean(0)
        spread = values.std(0) if len(values) > 1 else torch.zeros_like(mean)
        ax.fill_between(
            x, mean - spread, mean + spread, color=colour, alpha=0.25, linewidth=0, label="± 1 sd of the seeds"
        )
        ax.plot(x, mean, color=colour, linewidth=1.2, label="mean of the seeds")
        ax.axhline(50, color="grey", linewidth=0.8, linestyle=":", label="chance")
        ax.axvline(tasks * iterations / CYCLES, color="black", linewidth=1, linestyle="--", label="second cycle begins")
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
    parser.add_argument("--iterations", type=int, default=1000, help="of a task")
    parser.add_argument("--points", type=int, default=10, help="measurements in a task")
    parser.add_argument("--tested", type=int, default=1000, help="test images of each measurement")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    options, flags = parser.parse_known_args()
    start = time.perf_counter()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run, found, turns = measure(
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
        f"{run.method.beta:g}; accuracy on {2 * (options.tested // 2)} test images of the task, half of them of its "
        f"class. In a cell, seed after seed.\n\n{table(found)}\n\n"
        f"Turns told in the end, in % (chance 25): {seeds(turns[0])} vanilla, whose head is untrained, and "
        f"{seeds(turns[1])} with rotation.\n\n{verdict(found, options.iterations)}\n"
    )
    print(text)
    if options.write:
        save(figure(found, options.iterations), RESULTS / "forgetting.png")
        with replacing(RESULTS / "forgetting.md") as file:
            file.write_text(text + "\n![Accuracy as training goes](forgetting.png)\n", encoding="utf-8")


if __name__ == "__main__":
    main()
