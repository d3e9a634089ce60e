"""Feature files: offsets, scales, shapes, types of arrays, names, values that are not finite."""

import random
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from benchmarks.mutations import Case
from ssl_bench.results.record import Record

K = (1, 5, 20)
GOOD = ("plain", "offset", "scale", "constant column", "float16", "float64", "big-endian", "column-major", "duplicates",
        "string labels", "float labels", "large labels", "wide", "integers", "val_ names", "valid_ names")  # fmt: skip
BAD = ("nan", "infinite", "complex", "objects", "lengths differ", "no labels", "unknown name", "two validations",
       "three axes", "empty", "one-hot labels", "labels of fractions", "text file", "truncated", "dimensions differ",
       "no test labels", "train only")  # fmt: skip


def expected(arrays: dict[str, np.ndarray], euclidean: bool) -> dict[int, tuple[float, int]]:
    """Accuracy of k-nearest neighbours in percent by float64, and the number of images whose vote is a near tie.

    The vote is that of `ssl_bench.evaluation.protocols.knn`: ties go to the class with the nearest member.
    """
    train, test = arrays["train_features"].astype(np.float64), arrays["test_features"].astype(np.float64)
    labels = arrays["train_labels"]
    if not euclidean:
        train, test = (x / np.abs(x).max(1, keepdims=True) for x in (train, test))
        train, test = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (train, test))
    scale = np.abs(train - train.mean(0)).max() or 1.0
    train, test = train / scale, test / scale
    near: Any = cKDTree(train).query(test, max(K) + 1)  # from differences, not from products
    found = {}
    for k in K:
        right = close = 0
        for distance, neighbours, truth in zip(*near, arrays["test_labels"], strict=True):
            classes, first, votes = np.unique(labels[neighbours[:k]], return_index=True, return_counts=True)
            best = votes == votes.max()
            right += classes[best][first[best].argmin()] == truth
            gap = (distance[k] - distance[k - 1]) / max(distance[k], 1e-300)
            close += bool(gap < 1e-4 or best.sum() > 1)
        found[k] = (100 * right / len(test), int(close))
    return found


def mutate(chance: random.Random, folder: Path) -> Case:
    """A feature file with classes that overlap, changed in one way; kNN is compared with float64."""
    kind = chance.choice(GOOD + BAD)
    generator = np.random.default_rng(chance.randrange(2**32))
    dim = 400 if kind == "wide" else chance.choice([2, 16, 64])
    centres = generator.normal(size=(3, dim))
    arrays: dict[str, Any] = {}
    for split, number in {"train": 120, "test": 60}.items():
        y = np.arange(number) % 3
        arrays[f"{split}_features"] = (centres[y] + 1.5 * generator.normal(size=(number, dim))).astype(np.float32)
        arrays[f"{split}_labels"] = y
    x = arrays["train_features"]
    names = [f"{split}_features" for split in ("train", "test")]

    def change(function: Any) -> None:
        for name in names:
            arrays[name] = function(arrays[name])

    def relabel(function: Any) -> None:
        for split in ("train", "test"):
            arrays[f"{split}_labels"] = function(arrays[f"{split}_labels"])

    amount = ""
    match kind:
        case "offset":
            offset = chance.choice([10, 1e3, 3e3, 1e4])
            amount = f" {offset:g}"
            change(lambda x: x + np.float32(offset))
        case "scale":
            scale = chance.choice([1e-30, 1e-12, 1e12, 1e30])
            amount = f" {scale:g}"
            change(lambda x: x * np.float32(scale))
        case "constant column":
            constant = chance.choice([1e3, 3.3e5, 1e9])
            amount = f" {constant:g}"
            change(lambda x: np.concatenate([x, np.full((len(x), 1), constant, np.float32)], 1))
        case "float16":
            change(lambda x: x.astype(np.float16))
        case "float64":
            change(lambda x: x.astype(np.float64))
        case "big-endian":
            change(lambda x: x.astype(">f4"))
        case "column-major":
            change(np.asfortranarray)
        case "duplicates":
            x[::2] = x[0]
        case "integers":
            change(lambda x: (x * 100).astype(np.int16))
        case "string labels":
            relabel(lambda y: np.array(["cat", "dog", "emu"])[y])
        case "float labels":
            relabel(lambda y: y.astype(np.float64))
        case "large labels":
            relabel(lambda y: y + 2**40)
        case "val_ names" | "valid_ names" | "two validations":
            prefixes = {"val_ names": ["val"], "valid_ names": ["valid"]}.get(kind, ["val", "validation"])
            for prefix in prefixes:
                arrays |= {f"{prefix}_features": x[:30].copy(), f"{prefix}_labels": arrays["train_labels"][:30]}
        case "nan":
            x[3, 0] = np.nan
        case "infinite":
            x[3, 0] = np.inf
        case "complex":
            change(lambda x: x.astype(np.complex64))
        case "objects":
            change(lambda x: x.astype(object))
        case "lengths differ":
            arrays["train_labels"] = arrays["train_labels"][:-1]
        case "no labels":
            del arrays["train_labels"]
        case "no test labels":
            del arrays["test_labels"]
        case "train only":
            del arrays["test_labels"], arrays["test_features"]
        case "unknown name":
            arrays["trian_features"] = x
        case "three axes":
            change(lambda x: x[:, :, None])
        case "empty":
            arrays |= {"train_features": x[:0], "train_labels": arrays["train_labels"][:0]}
        case "one-hot labels":
            relabel(lambda y: np.eye(3)[y])
        case "labels of fractions":
            relabel(lambda y: y + 0.5)
        case "dimensions differ":
            arrays["test_features"] = arrays["test_features"][:, :-1]
    file = folder / "features.npz"
    np.savez(file, **arrays)
    if kind == "text file":
        file.write_text("no features")
    if kind == "truncated":
        file.write_bytes(file.read_bytes()[:-100])

    def check(run: Path, output: str) -> str:
        record = Record.read(run)
        bank = {name: value for name, value in arrays.items() if name.startswith(("train", "test"))}
        for prefix in ("val", "valid"):
            if f"{prefix}_features" in arrays:
                for part in ("features", "labels"):
                    bank[f"train_{part}"] = np.concatenate([bank[f"train_{part}"], arrays[f"{prefix}_{part}"]])
        for suffix in ("", "_euclidean"):
            for k, (accuracy, close) in expected(bank, bool(suffix)).items():
                value = record.metrics.get(f"knn_{k}{suffix}/accuracy")
                if value is None:
                    return "silent drop"
                if abs(value - accuracy) > 100 * close / len(bank["test_labels"]) + 1e-3:
                    return "wrong score"
        return ""

    return Case(
        f"{kind}{amount}, {dim} features",
        ["evaluate", str(file), "--evaluation.protocols=[knn]", f"--evaluation.knn.k={list(K)}"],
        codes=(0,) if kind in GOOD else (2,),
        check=check,
    )
