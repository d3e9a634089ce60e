"""Feature files: offsets, scales, shapes, types of arrays, names, values that are not finite.

Scores are compared with those of exact computations in float64: scipy's kd-tree, scikit-learn's LogisticRegression,
LinearSVC and KMeans. A score may differ by the images that an exact computation assigns by less than its noise: the
classes of the k-th neighbours, whose distances differ by less than 1e-4, or the two largest outputs of a linear
classifier, if they differ by less than `CLOSE`. The inertia of k-means, a best of random starts, may differ by
`INERTIA`.
"""

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree

from benchmarks.mutations import Case
from ssl_bench.data.splits import SPLIT_SEED, VALIDATION_FRACTION, hold_out
from ssl_bench.results.record import Record

K = (1, 5, 20)
GRID = (1e-4, 1e-2, 1.0)
"""Values of L2 and of C to choose from."""
CLOSE = 1e-2
"""Difference of two outputs of a linear classifier that is noise, as a fraction of the outputs' standard deviation."""
INERTIA = 1e-2
"""Relative difference of the inertia of two clusterings that are both good."""
Split = tuple[np.ndarray, np.ndarray]
"""Features and labels."""
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


def splits(arrays: dict[str, np.ndarray]) -> tuple[Split, Split, Split]:
    """Train, validation and test split in float64, standardised by train; constant features are left out."""
    names = [name.removesuffix("_features") for name in arrays if name.endswith("_features")]
    parts = {name: (arrays[f"{name}_features"].astype(np.float64), arrays[f"{name}_labels"]) for name in names}
    x, y = parts["train"]
    given = [part for name, part in parts.items() if name.startswith("val")]
    if not given:
        codes = torch.from_numpy(np.unique(y, return_inverse=True)[1])
        held = hold_out(codes, VALIDATION_FRACTION, SPLIT_SEED).numpy()
        given, x, y = [(x[held], y[held])], x[~held], y[~held]
    mean, deviation = x.mean(0), x.std(0)
    varies = deviation > 0

    def standardised(part: Split) -> Split:
        return ((part[0] - mean) / np.where(varies, deviation, 1))[:, varies], part[1]

    return standardised((x, y)), standardised(given[0]), standardised(parts["test"])


def linear_model(name: str, value: float, split: Split) -> Any:
    """Classifier of scikit-learn with the objective of a protocol, fitted to convergence."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC

    model: Any = LinearSVC(C=value, dual=False, tol=1e-8, max_iter=100_000)
    if name == "linear_probe":
        model = LogisticRegression(C=1 / (value * len(split[1])), tol=1e-8, max_iter=100_000)
    return model.fit(*split)


def accuracy_and_noise(model: Any, split: Split) -> tuple[float, float]:
    """Accuracy in percent, and the percentage of images whose class is within the noise."""
    outputs = model.decision_function(split[0])
    second, first = np.sort(outputs, axis=1)[:, -2:].T
    close = first - second < CLOSE * outputs.std()
    return 100 * model.score(*split), 100 * close.mean()


def linear_is_right(name: str, accuracy: float, chosen: float, arrays: dict[str, np.ndarray]) -> bool:
    """Whether the chosen value is the best on validation, and the accuracy that of the refitted classifier."""
    train, validation, test = splits(arrays)
    found = {value: accuracy_and_noise(linear_model(name, value, train), validation) for value in GRID}
    best = max(found[value][0] - found[value][1] for value in GRID)
    fitting = np.concatenate([train[0], validation[0]]), np.concatenate([train[1], validation[1]])
    expected, noise = accuracy_and_noise(linear_model(name, chosen, fitting), test)
    return sum(found[chosen]) >= best - 1e-3 and abs(accuracy - expected) <= noise + 1e-3


def expected_inertia(arrays: dict[str, np.ndarray]) -> float:
    """Inertia of k-means of the test features."""
    from sklearn.cluster import KMeans

    x = arrays["test_features"].astype(np.float64)
    scale = np.abs(x - x.mean(0)).max()  # scikit-learn takes 1e-30 for 0
    return float(KMeans(3, n_init=50, random_state=0).fit((x - x.mean(0)) / scale).inertia_ * scale**2)


def mutate(rng: random.Random, folder: Path) -> Case:
    """A feature file with classes that overlap, changed in one way; scores are compared with float64."""
    kind = rng.choice(GOOD + BAD)
    generator = np.random.default_rng(rng.randrange(2**32))
    dim = 400 if kind == "wide" else rng.choice([2, 16, 64])
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
            offset = rng.choice([10, 1e3, 3e3, 1e4])
            amount = f" {offset:g}"
            change(lambda x: x + np.float32(offset))
        case "scale":
            scale = rng.choice([1e-30, 1e-12, 1e12, 1e30])
            amount = f" {scale:g}"
            change(lambda x: x * np.float32(scale))
        case "constant column":
            constant = rng.choice([1e3, 3.3e5, 1e9])
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
        metrics = Record.read(run).metrics
        for name, setting in {"linear_probe": "l2", "svm": "c"}.items():
            if f"{name}/accuracy" not in metrics:
                return "silent drop"
            if not linear_is_right(name, metrics[f"{name}/accuracy"], metrics[f"{name}/{setting}"], arrays):
                return "wrong score"
        if "kmeans_euclidean_best/inertia" not in metrics:
            return "silent drop"
        if abs(metrics["kmeans_euclidean_best/inertia"] / expected_inertia(arrays) - 1) > INERTIA:
            return "wrong score"
        bank = {name: value for name, value in arrays.items() if name.startswith(("train", "test"))}
        for prefix in ("val", "valid"):
            if f"{prefix}_features" in arrays:
                for part in ("features", "labels"):
                    bank[f"train_{part}"] = np.concatenate([bank[f"train_{part}"], arrays[f"{prefix}_{part}"]])
        for suffix in ("", "_euclidean"):
            for k, (accuracy, close) in expected(bank, bool(suffix)).items():
                value = metrics.get(f"knn_{k}{suffix}/accuracy")
                if value is None:
                    return "silent drop"
                if abs(value - accuracy) > 100 * close / len(bank["test_labels"]) + 1e-3:
                    return "wrong score"
        return ""

    return Case(
        f"{kind}{amount}, {dim} features",
        [
            "evaluate",
            str(file),
            "--evaluation.protocols=[knn,linear_probe,svm,kmeans]",
            f"--evaluation.knn.k={list(K)}",
            f"--evaluation.linear_probe.l2={list(GRID)}",
            f"--evaluation.svm.c={list(GRID)}",
            "--evaluation.kmeans.distances=[euclidean]",
        ],
        codes=(0,) if kind in GOOD else (2,),
        check=check,
    )
