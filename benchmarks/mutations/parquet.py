"""Parquet files in layouts of Hugging Face: shards, columns of images, types of labels, missing parts."""

import io
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.mutations import Case, score_pixels

LABELS: dict[str, tuple[list[Any], Any]] = {
    "int64": ([0, 1, 2], pa.int64()),
    "uint8": ([0, 1, 2], pa.uint8()),
    "uint64": ([0, 1, 2**40], pa.uint64()),
    "large integers": ([20_000_000, 20_000_001, 7], pa.int64()),
    "strings": (["cat", "dog", "emu"], pa.string()),
    "large strings": (["cat", "dog", "emu"], pa.large_string()),
    "booleans": ([False, True], pa.bool_()),
    "fractions": ([0.5, 1.5], pa.float64()),
    "lists": ([[0], [1]], pa.list_(pa.int64())),
}
"""Labels and their type."""
REFUSED = ("fractions", "lists")


def write(path: Path, number: int, labels: tuple[list[Any], Any], image: str, rng: random.Random) -> None:
    """Write one file of images ``(8, 8)`` with labels.

    Args:
        path: path of the file.
        number: number of images.
        labels: labels to choose from and their type.
        image: type of the column of images.
        rng: generator of random numbers.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    cells: list[Any] = []
    for row in range(number):
        data = io.BytesIO()
        pixels = np.random.default_rng(rng.randrange(2**32)).integers(0, 256, (8, 8), np.uint8)
        Image.fromarray(pixels).save(data, "png")
        if image == "bytes":
            cells.append(data.getvalue())
        elif image == "struct":
            cells.append({"bytes": data.getvalue(), "path": f"{row}.png"})
        else:
            name = f"{path.stem}-{row}.png"
            (path.parent / name).write_bytes(data.getvalue())
            cells.append({"bytes": None, "path": name} if image == "struct of paths" else name)
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    kinds = {"bytes": pa.binary(), "struct": struct, "struct of paths": struct, "paths": pa.string()}
    values, kind = labels
    column = [values[row % len(values)] for row in range(number)]
    pq.write_table(pa.table({"image": pa.array(cells, kinds[image]), "label": pa.array(column, kind)}), path)


def mutate(rng: random.Random, folder: Path) -> Case:
    """A folder of parquet files in a good layout or with one mistake; numbers of images and classes are compared."""
    root, counts = folder / "set", {"train": rng.randrange(24, 40), "test": rng.randrange(9, 15)}
    image = rng.choice(["bytes", "struct", "struct of paths", "paths"])
    name = rng.choice(list(LABELS))
    layout = rng.choice(["data/{split}-{shard:05d}-of-{shards:05d}", "default/{split}/{shard:04d}",
                         "{split}/{split}-{shard:05d}-of-{shards:05d}", "{split}"])  # fmt: skip
    paths = []
    for split, count in counts.items():
        shards = 1 if layout == "{split}" else rng.choice([1, 2, 3])
        for shard in range(shards):
            path = root / (layout.format(split=split, shard=shard, shards=shards) + ".parquet")
            write(path, part := len(range(shard, count, shards)), LABELS[name], image, rng)
            paths.append((path, shards, part))
    codes: tuple[int, ...] = (2,) if name in REFUSED else (0,)
    mistake = rng.choice(["", "", "", "missing shard", "damaged shard", "empty shard", "no train", "other column"])
    path, shards, part = rng.choice(paths)
    match mistake:
        case "missing shard" if shards > 1 and "-of-" in layout:
            codes = (2,)
            path.unlink()
        case "damaged shard":
            codes = (2,)
            path.write_bytes(path.read_bytes()[:-50])
        case "empty shard":
            codes = (2,)
            path.write_bytes(b"")
        case "no train":
            codes = (2,)
            for found in root.rglob("*.parquet"):
                if "train" in found.relative_to(root).as_posix():
                    found.unlink()
        case "other column":
            codes = (2,)
            pq.write_table(pq.read_table(path).rename_columns(["picture", "label"]), path)

    def check(run: Path, output: str) -> str:
        found = json.loads((run / "data.json").read_text())["images"]
        if {"train": found["fit"], "test": found["test"]} != counts:
            return "silent drop"
        return "" if f" images, {len(LABELS[name][0])} classes" in output else "wrong score"

    return Case(
        f"{name}, {image}, {layout}, {mistake or 'good'}",
        score_pixels("parquet", root),
        codes=codes,
        check=check,
    )
