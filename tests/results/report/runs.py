"""Run folders with known scores for the tests of the report."""

import csv
import io
import json
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from PIL import Image

from ssl_bench.results.record import Record
from tests.results.records import record

METRICS = ("linear_probe", "svm", "mlp_probe", "knn_1", "knn_5", "knn_20", "kmeans", "gmm")
FAMILIES = {
    "simclr": "joint-embedding", "vae": "generative", "simvae": "generative", "ssgan": "adversarial", "mae": "masked",
}  # fmt: skip
COLOURS = [f"#{40 + 20 * i:02x}{200 - 15 * i:02x}{97 * i % 256:02x}" for i in range(10)]


def scores(method: str, seed: int, data: str) -> dict[str, float]:
    generator = random.Random(f"{method} {seed} {data}")
    base = 60 + 5 * (len(method) % 5)
    return {f"{metric}/accuracy": base + i + generator.gauss(0, 1) for i, metric in enumerate(METRICS)}


def synthetic(number: int, data: tuple[str, ...] = ("digits", "mnist")) -> Iterator[Record]:
    """Records of five methods on some data sets, with as many seeds as are needed."""
    for i in range(number):
        method = list(FAMILIES)[i % len(FAMILIES)]
        of = data[i // len(FAMILIES) % len(data)]
        seed = i // len(FAMILIES) // len(data)
        yield record(
            method, seed, f"{method}-{of}", data=of, epochs=20, family=FAMILIES[method],
            metrics=scores(method, seed, of),
            seconds={"fit": 10.0 + i, "extract": 1.0, "knn": 0.2}, parameters=1000 * (1 + i % 7), images_seen=20_000,
            peak_memory_mb=900.0, command=f"ssl-bench bench --method {method} --data {of} --seed {seed}",
        )  # fmt: skip


def write_runs(folder: Path, records: Iterator[Record] | list[Record], figures: bool = False) -> list[Path]:
    """Run folders with these records; with figures, maps and logs if asked for."""
    folders = []
    for one in records:
        name = f"{one.method}-{one.data}-s{one.seed}-{one.config_hash}"
        path = folder / name.replace("/", "_").replace(" ", "_")
        path.mkdir(parents=True)
        one.write(path)
        if figures:
            add_figures(path, one.seed)
        folders.append(path)
    return folders


@cache
def picture() -> bytes:
    """A PNG of noise, which is larger than a usual picture."""
    content = io.BytesIO()
    Image.effect_noise((1200, 900), 60).convert("RGB").save(content, "PNG", compress_level=1)
    return content.getvalue()


def add_figures(folder: Path, seed: int) -> None:
    """Pictures, a map and a log of training as a run writes them."""
    generator = random.Random(seed)
    (folder / "figures").mkdir()
    for name in ("samples", "reconstructions", "views", "neighbours"):
        (folder / "figures" / f"{name}.png").write_bytes(picture())
    rows = generator.sample(range(2000), 500)
    points = {row: (row % 10 + random.Random(row).gauss(0, 0.4), row % 7 / 3) for row in rows}
    content = {
        "target": "digit", "classes": [str(i) for i in range(10)], "colours": COLOURS, "rows": rows,
        "labels": [row % 10 for row in rows], "maps": {"t-SNE": [points[row] for row in rows]},
    }  # fmt: skip
    (folder / "figures" / "map.json").write_text(json.dumps(content))
    log = folder / "logs" / "version_0"
    log.mkdir(parents=True)
    with (log / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["epoch", "step", "train/loss", "validation/knn_5/accuracy"])
        for epoch in range(20):
            writer.writerow([epoch, 10 * epoch, 3 / (1 + epoch), ""])
            writer.writerow([epoch + 1, 10 * epoch + 9, "", 50 + 2 * epoch])
