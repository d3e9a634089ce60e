"""`ssl-bench views information`: what kinds of views tell about each other, measured by MINE."""

import json
import sys
from functools import partial
from itertools import combinations
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ssl_bench.data.module import ImageSet
from ssl_bench.data.shards import Shards
from ssl_bench.distributed import rank, share_out, stopping_together
from ssl_bench.files import replacing
from ssl_bench.generation.mine import View, kinds, table
from ssl_bench.generation.origin import open_run
from ssl_bench.generation.sources import CachedViews, PerturbedViews


def measure_information(
    folder: Path,
    encoder: Path,
    device: torch.device,
    epochs: int = 10,
    batch_size: int = 256,
    lr: float = 5e-3,
    width: int = 64,
    seed: int = 0,
) -> Path:
    """Mutual information, in nats, of the image, its expert views and its generated views, two by two.

    Args:
        folder: of views; of codes, whose views are then those of W-perturb.
        encoder: run folder of a contrastive method, for its data and its recipe of expert views.
        device: where.
        epochs: of the critic.
        batch_size: of the critic; no figure exceeds its logarithm.
        lr: of the critic's Adam.
        width: of the critic's ResNet-18.
        seed: of the critic and the views.
    """
    opened, _, _ = open_run(encoder, device)
    made, fit = Shards(folder), opened.data.split("fit")
    opened.data.fit_images = made.count  # those that have generated views
    cached = made.key["kind"] in ("search", "perturb")
    source = CachedViews(str(folder)) if cached else PerturbedViews(str(folder))
    source.open(opened.data, device)
    opened.views.generated = None
    ids = opened.data.fit_ids()
    rows = fit.rows.cpu()
    images = ImageSet(fit.images, torch.zeros(int(rows.max()) + 1, dtype=torch.int64), rows[ids])

    def generated(pictures: Tensor, positions: Tensor) -> Tensor:
        return source(pictures, ids.to(positions.device)[positions])

    def two(of: dict[str, View]) -> dict[str, float]:
        print(f"information: of {' and '.join(of)}", file=sys.stderr)
        return table(of, images, epochs=epochs, batch_size=batch_size, lr=lr, width=width, seed=seed, device=device)

    pairs = [dict(pair) for pair in combinations(kinds(opened.views, generated).items(), 2)]
    with stopping_together(folder):
        parts = share_out([partial(two, pair) for pair in pairs])  # every critic is trained whole, in one process
    found = {name: nats for part in parts for name, nats in part.items() if name != "ceiling"}
    found["ceiling"] = parts[0]["ceiling"]
    if rank() == 0:
        write(found, folder / "information.json")
    return folder / "information.json"


def write(found: dict[str, float], file: Path) -> None:
    """Print what was found, and write it."""
    shown = Table(box=None, pad_edge=False, show_header=False)
    for name, nats in found.items():
        shown.add_row(name.replace("_", ", "), f"{nats:.2f}")
    Console().print(shown)
    with replacing(file) as new:
        new.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
