"""Plot tensors and write the figures to files, without a display and without the global state of pyplot."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from ssl_bench.files import replacing

matplotlib.rcdefaults()  # a matplotlibrc in the working directory would change the figures, or even run LaTeX

MAX_NUMBERED, MAX_NAMED = 12, 30
"""Maximum number of classes for which a figure of all classes shows numbers, and for which it shows names."""
SAME_CLASS, OTHER_CLASS, NO_LABEL = "#0072b2", "#d55e00", "#999999"
"""Frame colours of neighbours: same class as the query, another class, no label (Okabe & Ito 2008)."""
CLASS_COLOURS = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadb",
)  # fmt: skip
"""Colours of up to ten classes, chosen for colour-blind readers (Petroff 2021, arXiv 2107.02270)."""
FEW_POINTS = 40
"""Most points of a curve that are marked."""


def canvas(width: float, height: float) -> Figure:
    """An empty figure with a size in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, path: Path, title: str = "") -> Path:
    """Write a PNG atomically.

    Args:
        figure: the figure.
        path: path of the PNG.
        title: what the figure is of, such as the name of a run; written above the title that the figure has.
    """
    if title:
        figure.suptitle("\n".join(filter(None, (title, figure.get_suptitle()))), fontsize=10)
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=150, bbox_inches="tight")
    return path


def show_image(image: Tensor, ax: Axes) -> None:
    """Show an image ``(C, H, W)`` in [0, 1] without axes; of 2 channels the first, of more than 3 the first three."""
    image = image[: 3 if len(image) >= 3 else 1]
    ax.imshow(image.expand(3, -1, -1).permute(1, 2, 0).numpy(), interpolation="nearest", aspect="equal")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def show_row(row: Tensor, label: str, ax: Axes) -> None:
    """Show images ``(n, C, H, W)`` in [0, 1] side by side, one white pixel apart, with a label on the left."""
    padded = torch.nn.functional.pad(row.clamp(0, 1).float().cpu(), (0, 1), value=1)
    show_image(padded.permute(1, 2, 0, 3).flatten(2), ax)
    ax.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)


def show_grid(images: Tensor, ax: Axes) -> None:
    """Show rows of images ``(rows, columns, C, H, W)`` in [0, 1], one white pixel apart."""
    columns = torch.nn.functional.pad(images, (0, 0, 0, 1), value=1).permute(1, 2, 0, 3, 4).flatten(2, 3)
    show_row(columns, "", ax)  # each column is one tall image


def class_colours(count: int) -> list[Any]:
    """Colours of classes in the order of their labels, the same in every plot."""
    if count <= len(CLASS_COLOURS):
        return list(CLASS_COLOURS[:count])
    palette = matplotlib.colormaps["tab20" if count <= 20 else "gist_rainbow"]
    return [palette(label if count <= 20 else label / count) for label in range(count)]


def scatter(maps: dict[str, Tensor], labels: Tensor, classes: Sequence[str], title: str) -> Figure:
    """Plot points in the plane, coloured by class.

    Args:
        maps: projections ``(N, 2)`` of the same rows, by name.
        labels: int64 ``(N,)``; -1 for no label, plotted in grey.
        classes: class names in the order of the labels. Up to 20 classes have a legend.
        title: title of the figure.
    """
    count = len(classes)
    colours = class_colours(count)
    shades = ListedColormap(["#cccccc", *colours])
    norm = BoundaryNorm([label - 1.5 for label in range(count + 2)], count + 1)
    figure = canvas(5 * len(maps), 4.6)
    axes = figure.subplots(1, len(maps), squeeze=False)[0]
    size = min(12.0, max(2.0, 12_000 / len(labels)))
    for (name, points), ax in zip(maps.items(), axes, strict=True):
        # One call for all classes, in the order of the rows: with one call per class, the last would cover the others.
        ax.scatter(*points.T, c=labels, cmap=shades, norm=norm, s=size, linewidths=0, alpha=0.8, rasterized=True)
        ax.set(title=name, xticks=[], yticks=[])
    if count <= 20:
        dots = [
            Line2D([], [], marker="o", linestyle="", color=c, label=n) for n, c in zip(classes, colours, strict=True)
        ]
        figure.legend(handles=dots, loc="outside right center", frameon=False, fontsize=9)
    figure.suptitle(title)
    return figure


def confusion(counts: Tensor, classes: Sequence[str], title: str) -> Figure:
    """Plot how the rows of each class are distributed over the clusters.

    Args:
        counts: ``(K, K)``; entry (i, j) is the number of rows of class i in the cluster matched with class j.
        classes: names of the K classes.
        title: title of the figure.
    """
    share = 100 * counts / counts.sum(1, keepdim=True).clamp_min(1)
    size = 2.2 + (0.5 * len(classes) if len(classes) <= MAX_NUMBERED else 0.22 * min(len(classes), 30))
    figure = canvas(size + 1.2, size)
    ax = figure.subplots()
    image = ax.imshow(share.numpy(), cmap="Blues", vmin=0, vmax=100)
    if len(classes) <= MAX_NAMED:
        ax.set_xticks(range(len(classes)), list(classes), rotation=45, ha="right", rotation_mode="anchor", fontsize=8)
        ax.set_yticks(range(len(classes)), list(classes), fontsize=8)
    if len(classes) <= MAX_NUMBERED:
        for (i, j), value in zip(
            torch.cartesian_prod(*2 * [torch.arange(len(classes))]).tolist(), share.flatten().tolist(), strict=True
        ):
            if value >= 0.5:
                ax.text(
                    j, i, f"{value:.0f}", ha="center", va="center", fontsize=8, color="white" if value > 55 else "black"
                )
    ax.set(title=title, xlabel="cluster, by its matched class", ylabel="class")
    figure.colorbar(image, ax=ax, label="% of the class", shrink=0.8)
    return figure


def bars(accuracy: Tensor, classes: Sequence[str], overall: float, title: str) -> Figure:
    """Plot the accuracy of each class; if there are many classes, only of the lowest and the highest.

    Args:
        accuracy: ``(C,)``, in percent.
        classes: names of the C classes.
        overall: accuracy over all images, in percent, plotted as a line.
        title: title of the figure.
    """
    shown = list(range(len(classes)))
    if len(classes) > MAX_NAMED:
        order = accuracy.argsort(stable=True).tolist()
        shown = [*order[: MAX_NAMED // 2], *order[-MAX_NAMED // 2 :]]
        title = f"{title}\n{MAX_NAMED // 2} lowest and {MAX_NAMED // 2} highest of {len(classes)} classes"
    values = accuracy[shown].tolist()
    figure = canvas(6, 1.2 + 0.24 * len(shown))
    ax = figure.subplots()
    marks = ax.barh(range(len(shown)), values, color="#4c78a8")
    for text in ax.bar_label(marks, fmt="%.1f", padding=3, fontsize=8, zorder=3):
        text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.6})  # covers the line
    ax.axvline(overall, color="#d62728", linewidth=1)
    ax.text(overall, -0.8, f"all classes {overall:.1f}", color="#d62728", fontsize=8, ha="center", va="bottom")
    ax.set_yticks(range(len(shown)), [classes[label] for label in shown], fontsize=8)
    ax.set(xlim=(0, 110), ylim=(len(shown) - 0.4, -0.8), xlabel="accuracy in %", xticks=range(0, 101, 20))
    ax.set_title(title, pad=14)
    ax.spines[["top", "right"]].set_visible(False)
    return figure


def neighbour_grid(images: Sequence[Sequence[Tensor]], labels: Tensor, classes: Sequence[str], title: str) -> Figure:
    """Plot queries with their nearest images; frame colours show whether a neighbour has the class of the query.

    Args:
        images: Q rows of 1 + k images ``(C, H, W)`` in [0, 1]: a query, then its neighbours, nearest first.
        labels: int64 ``(Q, 1 + k)``; -1 for no label.
        classes: class names in the order of the labels.
        title: title of the figure.
    """
    count, across = labels.shape
    figure = canvas(1.1 * across + 0.6, 1.22 * count + 0.5)
    axes = figure.subplots(count, across, squeeze=False)
    for row in range(count):
        for column, ax in enumerate(axes[row]):
            label, query = int(labels[row, column]), int(labels[row, 0])
            show_image(images[row][column].clamp(0, 1), ax)
            name = classes[label] if label >= 0 else "no label"
            colour = NO_LABEL if min(label, query) < 0 else SAME_CLASS if label == query else OTHER_CLASS
            if column == 0:
                ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
                continue
            ax.spines[:].set(visible=True, color=colour, linewidth=2.5)
            if label != query:
                ax.set_xlabel(name, color=colour, fontsize=7, labelpad=2)
    axes[0, 0].set_title("query", fontsize=9)
    axes[0, 1].set_title("nearest", fontsize=9)
    figure.suptitle(title)
    return figure
