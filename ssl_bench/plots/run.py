"""Figures of a run: losses, views, reconstructions, samples. For features, see evaluation/protocols/maps.py."""

from math import pi
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ssl_bench.methods.base import Generative, Latent, Masking, Reconstructive
from ssl_bench.plots.plane import is_planar, plot_plane
from ssl_bench.plots.primitives import FEW_POINTS, canvas, save, show_grid, show_row
from ssl_bench.results.training_log import read_log

if TYPE_CHECKING:
    from ssl_bench.config.schema import Run

GRID_SIZE = 8
"""Number of rows and of columns of a grid of images."""
FRECHET_PREFIXES = ("fid", "fd_")
"""Prefixes of the names of Frechet distances."""


def plot_run(folder: Path, run: "Run", device: torch.device, title: str = "") -> list[Path]:
    """Plot all figures that apply to a run as PNG files under ``figures/``, and return their paths.

    Args:
        folder: the run folder.
        run: objects of the run.
        device: device of the method.
        title: method, data, seed and epochs, for the titles of the figures.

    The states of random generators are restored, so that plotting does not change results.
    """
    (folder / "figures").mkdir(exist_ok=True)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        figures: dict[str, Figure | None] = {
            "loss": loss_curves(folder / "logs"),
            "generation": generation_curve(folder / "logs"),
            "validation": validation_curve(folder / "logs"),
            **(image_figures(run, device) if len(run.data.image_shape) == 3 else {}),
            "plane": plot_plane(run, device) if is_planar(run) else None,
        }
    return [
        save(figure, folder / "figures" / f"{name}.png", title)
        for name, figure in figures.items()
        if figure is not None
    ]


def loss_curves(logs: Path) -> Figure | None:
    """Plot every logged training metric against the step; None if nothing was logged."""
    curves = read_log(logs, "train/")
    if not curves:
        return None
    across, down = min(4, len(curves)), -(-len(curves) // 4)
    figure = canvas(3.2 * across, 2.6 * down)
    panels = figure.subplots(down, across, squeeze=False).flatten()
    for ax in panels[len(curves) :]:
        ax.set_visible(False)
    for (name, points), ax in zip(curves.items(), panels, strict=False):
        ax.plot(*zip(*points, strict=True), linewidth=1, marker="." if len(points) <= FEW_POINTS else "")
        ax.set(title=name.replace("_", " "), xlabel="step")
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def generation_curve(logs: Path) -> Figure | None:
    """Plot the Frechet distance of samples against the step; None if it was not measured."""
    curves = {
        name: points for name, points in read_log(logs, "generation/").items() if name.startswith(FRECHET_PREFIXES)
    }
    if not curves:
        return None
    figure = canvas(5, 3.4)
    ax = figure.subplots()
    for name, points in curves.items():
        ax.plot(*zip(*points, strict=True), marker=".", label=distance_label(name))
    ax.set(xlabel="step", ylabel="Frechet distance")
    ax.set_ylim(0, 1.1 * max(value for points in curves.values() for _, value in points))
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return figure


def validation_curve(logs: Path) -> Figure | None:
    """Plot the accuracies on the validation images against the epoch; None if they were not measured."""
    curves = read_log(logs, "validation/", against="epoch")
    accuracies = {name: points for name, points in curves.items() if name.endswith("/accuracy")}
    if not accuracies:
        return None
    figure = canvas(5, 3.4)
    ax = figure.subplots()
    for name, points in accuracies.items():
        ax.plot(*zip(*points, strict=True), marker=".", label=name.removesuffix("/accuracy"))
    ax.set(xlabel="epoch", ylabel="accuracy on validation images [%]")
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return figure


def distance_label(metric: str) -> str:
    """Label of a Frechet distance: ``FID`` for ``fid``, else with the name of the extractor."""
    return "FID" if metric == "fid" else f"Frechet distance ({metric.removeprefix('fd_')})"


def image_figures(run: "Run", device: torch.device) -> dict[str, Figure | None]:
    """Figures of test images with their views and reconstructions, of samples and of interpolated samples."""
    images = next(iter(run.data.batches("test", GRID_SIZE))).images.to(device)
    plain, views = run.views.evaluation_input(images), run.views(images)
    originals = run.views.to_image(plain)
    figures: dict[str, Figure | None] = {
        "views": image_rows([originals, *run.views.to_image(views)[:6]], ["image", *["view"] * 6])
    }
    if isinstance(run.method, Reconstructive):
        rows = {"image": originals}
        if isinstance(run.method, Masking):
            rows["masked"] = run.method.masked(plain)
        rows["reconstruction"] = run.method.reconstruct(plain)
        figures["reconstructions"] = image_rows(list(rows.values()), list(rows))
    if isinstance(run.method, Generative):
        figures["samples"] = image_grid(run.method.sample(GRID_SIZE**2, torch.Generator().manual_seed(0)))
    if isinstance(run.method, Latent):
        start, end = run.method.latents(2 * GRID_SIZE, torch.Generator().manual_seed(0)).split(GRID_SIZE)
        figures["interpolation"] = image_grid(run.method.decode(slerp(start, end, GRID_SIZE).flatten(0, 1)))
    return figures


def slerp(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Interpolate between standard normal latents ``(n, L)`` and ``(n, L)``; returns ``(n, steps, L)`` with both ends.

    This is spherical interpolation (White 2016, arXiv 1609.04468) at an angle of 90 degrees, which is the angle between
    independent latents of many dimensions. Every step is standard normal, whereas steps on a straight line have a
    smaller norm.
    """
    angle = torch.linspace(0, pi / 2, steps, device=start.device).unsqueeze(1)
    return angle.cos() * start.unsqueeze(1) + angle.sin() * end.unsqueeze(1)


def image_grid(images: Tensor) -> Figure:
    """A grid of ``GRID_SIZE**2`` images ``(n, C, H, W)`` in [0, 1], row by row."""
    figure = canvas(GRID_SIZE, GRID_SIZE)
    show_grid(images.unflatten(0, (GRID_SIZE, GRID_SIZE)), figure.subplots())
    return figure


def image_rows(rows: list[Tensor], labels: list[str]) -> Figure:
    """Rows of images ``(n, C, H, W)`` in [0, 1], each with its label on the left."""
    figure = canvas(GRID_SIZE, len(rows))
    for row, label, ax in zip(rows, labels, figure.subplots(len(rows), 1, squeeze=False)[:, 0], strict=False):
        show_row(row, label, ax)
    return figure
