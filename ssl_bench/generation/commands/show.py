"""`ssl-bench views show`: a figure of what a folder contains, and its metrics."""

from pathlib import Path

import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ssl_bench.data.shards import Shards
from ssl_bench.errors import UserError
from ssl_bench.generation.commands.arguments import ShowCommand
from ssl_bench.generation.trained_run import load_run
from ssl_bench.plots.primitives import canvas, save, show_grid


def show_folder(command: ShowCommand, device: torch.device) -> Path:
    """Print the metrics of a folder, and plot its first rows.

    Returns:
        The image file.
    """
    folder, shards = command.folder, Shards(command.folder)
    if 0 in shards.missing():
        raise UserError(f"{folder} has no rows yet: let the command that makes it finish a shard")
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in metrics(shards).items():
        table.add_row(name, value)
    Console().print(table)
    out = command.out or folder / "views.png"
    if not out.parent.is_dir():
        raise UserError(f"no folder {out.parent}: give --out in an existing folder")
    return save(plot_rows(shards, min(command.anchors, len(shards.rows(0))), device, command.data.root), out)


def metrics(shards: Shards) -> dict[str, str]:
    """Return the formatted metrics of the existing rows, by label."""
    key, settings = shards.key, shards.key["settings"]
    missing = set(shards.missing())
    existing = [shard for shard in range(-(-shards.count // shards.shard_rows)) if shard not in missing]
    rows = torch.cat([shards.rows(shard) for shard in existing])
    values = {
        name: shards.read(name, rows)
        for name in shards.tensor_names()
        if name not in ("codes", "images", "views") and not shards.shape(name)
    }
    shown = {"kind": key["kind"], "rows": f"{len(rows)} of {shards.count}"}
    if key["kind"] == "search":
        eps1, eps2 = shards.notes["eps1"], shards.notes["eps2"]
        shown |= {
            "eps1, eps2": f"{eps1:.3f}, {eps2:.3f}",
            "mean |d - eps1|": f"{values.pop('boundary').mean():.4f}",
            "distance between views": f"{values.pop('spread').mean():.3f}",
            "converged": f"{100 * (values['loss'] <= settings['tolerance']).float().mean():.1f} %",
            "mean steps": f"{values.pop('steps').mean():.0f} of {settings['steps']}",
        }
    if "effective_sigma" in settings:
        shown["sigma"] = f"{settings['sigma']:g}, after truncation {settings['effective_sigma']:g}"
    rate = f"{len(rows) / float(values.pop('seconds').sum()):.2f}"
    return shown | {name: f"{value.mean():.4g}" for name, value in values.items()} | {"images/s per process": rate}


def plot_rows(shards: Shards, count: int, device: torch.device, root: Path | None = None) -> Figure:
    """Plot one row for each anchor: the image, its reconstruction and its views, as in Figure 2 of the paper."""
    rows, columns, labels = torch.arange(count), [], []
    codes = shards
    if shards.key["kind"] in ("search", "perturb"):
        codes = Shards(shards.notes["codes"])
    if codes.key["kind"] == "invert":
        columns, labels = [originals(codes, rows, device, root)], ["image"]
    columns.append(codes.read("images", rows) / 255)
    labels.append("reconstruction" if labels else "image")
    if codes is not shards:
        views = shards.read("views", rows) / 255
        columns += list(views.unbind(1))
        labels += [f"view {number + 1}" for number in range(views.shape[1])]
    figure = canvas(0.8 * len(columns), 0.8 * count + 0.4)
    ax = figure.subplots()
    show_grid(torch.stack(columns, 1), ax)
    width = columns[0].shape[-1] + 1
    ax.set_xticks([width * (column + 0.5) for column in range(len(columns))], labels, fontsize=7)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    return figure


def originals(codes: Shards, rows: Tensor, device: torch.device, root: Path | None = None) -> Tensor:
    """Return the inverted images ``(n, C, H, W)`` in [0, 1] of rows ``(n,)``, from the data of the inversion's run."""
    run = load_run(Path(codes.notes["generator"]), device, root)
    images = run.data.split("fit")[run.data.fit_order()[rows]].images
    return run.views.to_image(run.views.evaluation_input(images))
