"""A picture of what a folder of codes or views holds, and a table of its figures."""

from pathlib import Path

import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ssl_bench.data.shards import Shards
from ssl_bench.errors import UserError
from ssl_bench.generation.origin import open_run
from ssl_bench.plots.primitives import canvas, save, show_grid

CPU = torch.device("cpu")


def show(folder: Path, out: Path | None = None, anchors: int = 8) -> Path:
    """A picture of views beside their images, and the figures of a folder.

    Args:
        folder: what a `views` command has made, or has begun to make.
        out: the picture; by default views.png in the folder.
        anchors: rows of the picture.
    """
    shards = Shards(folder)
    if 0 in shards.missing():
        raise UserError(f"{folder} has no rows yet: let the command that makes it finish a shard")
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in figures(shards).items():
        table.add_row(name, value)
    Console().print(table)
    out = out or folder / "views.png"
    if not out.parent.is_dir():
        raise UserError(f"no folder {out.parent}: give --out in one that is there")
    return save(sheet(shards, min(anchors, len(shards.rows(0)))), out)


def figures(shards: Shards) -> dict[str, str]:
    """What the rows that are there say of themselves, in words."""
    key, settings = shards.key, shards.key["settings"]
    missing = set(shards.missing())
    there = [shard for shard in range(-(-shards.count // shards.shard_rows)) if shard not in missing]
    rows = torch.cat([shards.rows(shard) for shard in there])
    means = {
        name: shards.read(name, rows)
        for name in shards.tensor_names()
        if name not in ("codes", "images", "views") and not shards.shape(name)
    }
    words = {"kind": key["kind"], "rows": f"{len(rows)} of {shards.count}"}
    if key["kind"] == "search":
        eps1, eps2 = shards.notes["eps1"], shards.notes["eps2"]
        words |= {
            "eps1, eps2": f"{eps1:.3f}, {eps2:.3f}",
            "mean |d - eps1|": f"{means.pop('boundary').mean():.4f}",
            "distance between views": f"{means.pop('spread').mean():.3f}",
            "converged": f"{100 * (means['loss'] <= settings['tolerance']).float().mean():.1f} %",
            "mean steps": f"{means.pop('steps').mean():.0f} of {settings['steps']}",
        }
    if "effective_sigma" in settings:
        words["sigma"] = f"{settings['sigma']:g}, after truncation {settings['effective_sigma']:g}"
    rate = f"{len(rows) / float(means.pop('seconds').sum()):.2f}"
    return words | {name: f"{values.mean():.4g}" for name, values in means.items()} | {"images/s of a process": rate}


def sheet(shards: Shards, count: int) -> Figure:
    """Rows of anchors: the image, its reconstruction and the views, as in the paper's Figure 2."""
    rows, columns, labels = torch.arange(count), [], []
    codes = shards
    if shards.key["kind"] in ("search", "perturb"):
        codes = Shards(shards.notes["codes"])
    if codes.key["kind"] == "invert":
        columns, labels = [originals(codes, rows)], ["image"]
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


def originals(codes: Shards, rows: Tensor) -> Tensor:
    """The images ``(n, C, H, W)`` in [0, 1] that codes were found for, by the run that found them."""
    run, _, _ = open_run(Path(codes.notes["generator"]), CPU)
    images = run.data.split("fit")[run.data.fit_order()[rows]].images
    return run.views.to_image(run.views.evaluation_input(images))
