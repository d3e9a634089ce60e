"""Tables and figure of `benchmarks/forgetting.py`."""

from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ssl_bench.plots.primitives import canvas

VARIANTS = {"vanilla": "#4c78a8", "with rotation": "#d62728"}
CYCLES = 2
POINTS = (0, 5, 10, 20, 50, 100, 200, 500)
"""Iterations after a change of the class at which accuracy is measured; the end of the task is measured, too."""


def measured_at(iterations: int) -> list[int]:
    """The iterations of a task after which accuracy is measured."""
    return [*(point for point in POINTS if point < iterations), iterations]


def table(found: Tensor, probes: Tensor, iterations: int) -> str:
    """Markdown table of each seed, and of the paired difference with its standard error over seeds.

    Args:
        found: accuracy in percent ``(variants, seeds, tasks, points)``.
        probes: accuracy of the linear probe ``(variants, seeds, tasks)``.
        iterations: iterations of a task.
    """
    points, rows = torch.tensor(measured_at(iterations), dtype=found.dtype), dict[str, Tensor]()
    within = (torch.trapezoid(found, points) / iterations).unflatten(2, (CYCLES, -1)).mean(-1)
    for number, cycle in enumerate(found.unflatten(2, (CYCLES, -1)).unbind(2)):
        rows[f"cycle {number + 1}, mean within its tasks"] = within[..., number]
        rows[f"cycle {number + 1}, at its tasks' ends"] = cycle[..., -1].mean(2)
        untrained = int(number == 0)  # skips the untrained network
        rows[f"cycle {number + 1}, just after a shift"] = cycle[:, :, untrained:, 0].mean(2)
    rows["cycle 2 less cycle 1, within tasks"] = within[..., 1] - within[..., 0]
    rows["end of the last task"] = found[..., -1, -1]
    rows["linear probe of all classes, after cycle 1"] = probes[..., probes.shape[2] // CYCLES - 1]
    rows["linear probe of all classes, after cycle 2"] = probes[..., -1]
    lines = [
        f"| accuracy in % | {' | '.join(VARIANTS)} | difference | mean difference | standard error |",
        "|---" * 6 + "|",
    ]
    for name, values in rows.items():
        gains = values[1] - values[0]
        cells = [*map(per_seed, values), per_seed(gains, "+"), f"{gains.mean():+.2f}"]
        cells += [f"{gains.std() / len(gains) ** 0.5:.2f}" if len(gains) > 1 else "-"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def recovery(found: Tensor, iterations: int) -> str:
    """Markdown table of the accuracy after some iterations of a task, mean over the tasks of a cycle and the seeds."""
    points = measured_at(iterations)
    lines = [
        "| accuracy in % after iteration | " + " | ".join(map(str, points)) + " |",
        "|---" * (1 + len(points)) + "|",
    ]
    cycles = found.unflatten(2, (CYCLES, -1))
    for number in range(CYCLES):
        for variant, name in enumerate(VARIANTS):
            curve = cycles[variant, :, number, int(number == 0) :].mean((0, 1))  # without the first task of all
            lines.append(
                f"| {name}, cycle {number + 1} | " + " | ".join(f"{value:.1f}" for value in curve.tolist()) + " |"
            )
    return "\n".join(lines)


def per_seed(values: Tensor, sign: str = "") -> str:
    """Format one number per seed."""
    return " / ".join(f"{value:{sign}.1f}" for value in values.tolist())


def figure(found: Tensor, probes: Tensor, iterations: int) -> Figure:
    """Accuracy during training, one panel per variant, and of the linear probe; means and deviations over seeds."""
    tasks = found.shape[2]
    x = (torch.arange(tasks)[:, None] * iterations + torch.tensor(measured_at(iterations))).flatten()
    ends = (torch.arange(tasks) + 1) * iterations
    picture = canvas(9, 3)
    *panels, last = picture.subplots(1, len(VARIANTS) + 1)
    for ax, values, probed, (name, colour) in zip(panels, found.flatten(2), probes, VARIANTS.items(), strict=True):
        plot_mean(ax, x, values, colour)
        plot_mean(last, ends, probed, colour, name)
        ax.axhline(50, color="grey", linewidth=0.8, linestyle=":")
        ax.set(title=f"{name}: current task", ylim=(45, 100))
    last.set(title="linear probe of all classes")
    last.legend(frameon=False, fontsize=8)
    for ax in (*panels, last):
        ax.axvline(tasks * iterations / CYCLES, color="black", linewidth=1, linestyle="--")
        ax.set(xlabel="iteration", xlim=(0, tasks * iterations))
        ax.locator_params(axis="x", nbins=5)
        ax.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("test accuracy in %")
    return picture


def plot_mean(ax: Any, x: Tensor, values: Tensor, colour: str, label: str = "") -> None:
    """Plot the mean of ``(seeds, n)`` and a band of one standard deviation."""
    mean = values.mean(0)
    spread = values.std(0) if len(values) > 1 else torch.zeros_like(mean)
    ax.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.25, linewidth=0)
    ax.plot(x, mean, color=colour, linewidth=1.2, label=label)
