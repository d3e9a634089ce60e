"""Folders and zip files of images: spellings of splits, files that are no images, unlabelled images, empty folders."""

import json
import random
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.mutations import Case, score_pixels

TRAIN, VALIDATION = ("train", "Train", "TRAINING", "training"), ("val", "Val", "valid", "VALIDATION", "dev")
TEST, UNLABELLED = ("test", "Test", "testing"), ("unlabelled", "Unlabeled", "UNLABELED")
SKIPPED = (".DS_Store", "Thumbs.db", ".hidden/x.png", "notes.txt", "__MACOSX/._x.png")


def images(folder: Path, count: int, seed: int) -> None:
    """Write images ``(8, 8)`` of random pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, pixels in enumerate(np.random.default_rng(seed).integers(0, 256, (count, 8, 8), np.uint8)):
        Image.fromarray(pixels).save(folder / f"{number}.png")


def mutate(rng: random.Random, folder: Path) -> Case:
    """A folder in a good layout or with one mistake; the numbers of images that are recorded are compared."""
    root, counts = folder / "photos", dict.fromkeys(("train", "validation", "test", "unlabelled"), 0)
    codes: tuple[int, ...] = (0,)
    splits = {"train": rng.choice(TRAIN), "validation": rng.choice(VALIDATION), "test": rng.choice(TEST)}
    if rng.random() < 0.3:
        splits = {"train": ""}
    elif rng.random() < 0.3:
        del splits[rng.choice(["validation", "test"])]
    for number, (split, name) in enumerate(splits.items()):
        for label in ("cat", "dog", "Emu"):
            counts[split] += (count := rng.randrange(6, 12))
            images(root / name / label, count, 10 * number + ord(label[0]))
    start = root / splits["train"]
    mistake = rng.choice(["", "", "skipped files", "unlabelled", "deep", "zip", "another class in a split",
                          "class beside splits", "two spellings", "loose image", "no class folders",
                          "empty class", "empty root", "one class", "file as root"])  # fmt: skip
    match mistake:
        case "skipped files":
            for name in rng.sample(SKIPPED, 3):
                (start / "cat" / name).parent.mkdir(parents=True, exist_ok=True)
                (start / "cat" / name).write_bytes(b"no image")
        case "unlabelled":
            counts["unlabelled"] = 5
            images(start / rng.choice(UNLABELLED), 5, 1)
        case "deep":
            counts["train"] += 3
            images(start / "cat" / "more" / "of it", 3, 2)
        case "another class in a split":
            codes = (0, 2)
            counts["train"] += 7
            images(start / "fox", 7, 3)
        case "class beside splits" if len(splits) > 1:
            codes = (2,)
            images(root / "fox", 7, 3)
        case "two spellings" if len(splits) > 1:
            codes = (2,)
            images(root / {"train": "training", "TRAINING": "train"}.get(splits["train"], "TRAINING") / "cat", 4, 3)
        case "loose image":
            codes = (2,)
            images(start, 1, 4)
        case "no class folders":
            codes, start = (2,), folder / "flat"
            root = start
            images(start, 20, 4)
        case "empty class":
            codes = (0, 2)
            (start / "empty").mkdir()
        case "empty root":
            codes, root = (2,), folder / "empty"
            root.mkdir()
        case "one class":
            codes, root = (0, 1, 2), folder / "one"
            counts = dict.fromkeys(counts, 0) | {"train": 12}
            images(root / "cat", 12, 5)
        case "file as root":
            codes, root = (2,), folder / "photos.txt"
            root.write_text("no folder")
    if mistake == "zip":
        with zipfile.ZipFile(folder / "photos.zip", "w") as file:
            for path in sorted(root.rglob("*.png")):
                file.write(path, path.relative_to(root))
        root = folder / "photos.zip"

    def check(run: Path, output: str) -> str:
        found = json.loads((run / "data.json").read_text())["images"]
        labelled = sum(counts.values()) - counts["unlabelled"]
        wrong = found["train"] + found["validation"] + found["test"] - counts["unlabelled"] != labelled
        for split in ("validation", "test"):
            wrong |= counts[split] > 0 and found[split] != counts[split]
        return "silent drop" if wrong else ""

    return Case(
        f"{mistake or 'good'}, {'/'.join(splits.values()) or 'no splits'}",
        score_pixels("image_folder", root),
        codes=codes,
        check=check,
    )
