"""`ssl-bench views information`: mutual information of images, expert views and generated views, by MINE."""

import json
import sys
from functools import partial
from itertools import combinations
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ssl_bench.data.contents import ImageSet
from ssl_bench.data.shards import Shards
from ssl_bench.distributed import rank, share_out
from ssl_bench.files import replacing
from ssl_bench.generation.commands.arguments import InformationCommand
from ssl_bench.generation.mine_estimator import View, kinds_of_views, mutual_information_table
from ssl_bench.generation.sources import CachedViews, PerturbedViews
from ssl_bench.generation.trained_run import load_run


def measure_information(command: InformationCommand, device: torch.device) -> Path:
    """Estimate the mutual information of each pair of kinds of views, print it and write ``information.json``.

    The pairs are distributed over the processes. Each critic is trained by one process.

    Returns:
        The path of the file.
    """
    run, folder, settings = load_run(command.encoder, device, command.data.root), command.folder, command.settings
    shards, fit = Shards(folder), run.data.split("fit")
    run.data.fit_images = shards.count  # the images that have generated views
    cached = shards.key["kind"] in ("search", "perturb")
    source = CachedViews(str(folder)) if cached else PerturbedViews(str(folder))
    source.open(run.data, device)
    run.views.generated = None
    ids = run.data.fit_ids()
    rows = fit.rows.cpu()
    images = ImageSet(fit.images, torch.zeros(int(rows.max()) + 1, dtype=torch.int64), rows[ids])

    def generated(batch: Tensor, positions: Tensor) -> Tensor:
        return source(batch, ids.to(positions.device)[positions])

    def estimate(pair: dict[str, View]) -> dict[str, float]:
        print(f"information: {' and '.join(pair)}", file=sys.stderr)
        return mutual_information_table(pair, images, settings, device=device)

    pairs = [dict(pair) for pair in combinations(kinds_of_views(run.views, generated).items(), 2)]
    parts = share_out([partial(estimate, pair) for pair in pairs])
    nats = {name: value for part in parts for name, value in part.items() if name != "ceiling"}
    nats |= {name: value for name, value in parts[0].items() if name == "ceiling"}  # last
    if rank() == 0:
        write(nats, folder / "information.json")
    return folder / "information.json"


def write(nats: dict[str, float], file: Path) -> None:
    """Print the estimates, and write them to a file."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in nats.items():
        table.add_row(name.replace("_", ", "), f"{value:.2f}")
    Console().print(table)
    with replacing(file) as new:
        new.write_text(json.dumps(nats, indent=2) + "\n", encoding="utf-8")
