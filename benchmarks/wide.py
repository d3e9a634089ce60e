"""Protocols on features of few images, beside one fit of scikit-learn.

    python benchmarks/wide.py            print the table (a minute on two cores)
    python benchmarks/wide.py --write    also write it to benchmarks/results/wide.md

Both libraries get the same arrays: a fifth of the images for validation, 500 test images, 10 overlapping classes. They
are alternated in every round, after one call each that is not measured. scikit-learn's classifiers are fitted once,
with the L2 or C that ssl_bench chose, on train and validation standardised by train; its Gaussian mixture is fitted on
the whitened principal components of train, as many as ssl_bench uses.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.rounds import alternate, compare_with_goal, provenance, write
from ssl_bench.evaluation.protocols.gmm import GMM
from ssl_bench.evaluation.protocols.linear_probe import LinearProbe
from ssl_bench.evaluation.protocols.svm import SVM
from ssl_bench.evaluation.rows import Rows
from ssl_bench.evaluation.task import Task

SHAPES = ((60, 5_000), (300, 2_000), (1_000, 100))
"""Numbers of images of train and validation together, and of features."""
TEST, CLASSES, GOAL = 500, 10, 2.0
Splits = dict[str, tuple[np.ndarray, np.ndarray]]
Scored = tuple[Callable[[], Any], Callable[[], float]]
"""What is measured, and afterwards the accuracy in percent."""
Found = dict[str, float]


def make_splits(images: int, dim: int) -> Splits:
    """Gaussian classes of correlated features, float32."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    y = torch.arange(images + TEST) % CLASSES
    hidden = normal(CLASSES, 32)[y] + 1.5 * normal(len(y), 32)
    x = hidden @ normal(32, dim) / 6 + 0.7 * normal(len(y), dim)
    sizes = {"train": images - images // 5, "validation": images // 5, "test": TEST}
    parts = zip(x.split(list(sizes.values())), y.split(list(sizes.values())), strict=True)
    return {split: (x.numpy(), y.numpy()) for split, (x, y) in zip(sizes, parts, strict=True)}


def make_task(splits: Splits, device: torch.device) -> Task:
    """A new task, without results of earlier calls."""
    rows = [
        Rows(torch.from_numpy(x).to(device), torch.from_numpy(y)[:, None].to(device), device)
        for x, y in splits.values()
    ]
    return Task(rows[0], rows[1], rows[2], CLASSES)


def classifier(make: Callable[[float, int], Any], splits: Splits, chosen: float) -> Scored:
    """One fit of a classifier on standardised features."""
    mean, deviation = splits["train"][0].mean(0), splits["train"][0].std(0)
    x = (np.concatenate([splits["train"][0], splits["validation"][0]]) - mean) / deviation
    y = np.concatenate([splits["train"][1], splits["validation"][1]])
    model = make(chosen, len(x))
    return lambda: model.fit(x, y), lambda: 100 * model.score((splits["test"][0] - mean) / deviation, splits["test"][1])


def linear_probe(splits: Splits, chosen: float) -> Scored:
    """Logistic regression at one L2."""
    from sklearn.linear_model import LogisticRegression

    return classifier(lambda l2, n: LogisticRegression(C=1 / (l2 * n), max_iter=1000), splits, chosen)


def svm(splits: Splits, chosen: float) -> Scored:
    """Linear SVM at one C."""
    from sklearn.svm import LinearSVC

    return classifier(lambda c, _: LinearSVC(dual="auto", C=c), splits, chosen)


def gmm(splits: Splits, _: float) -> Scored:
    """Gaussian mixture of principal components."""
    from scipy.optimize import linear_sum_assignment
    from sklearn.decomposition import PCA
    from sklearn.mixture import GaussianMixture
    from sklearn.pipeline import make_pipeline

    x, (test, y) = splits["train"][0].astype(np.float64), splits["test"]
    components = PCA(min(64, len(x) - 1, x.shape[1]), whiten=True)
    model = make_pipeline(components, GaussianMixture(CLASSES, n_init=20, random_state=0))

    def accuracy() -> float:
        table = np.zeros((CLASSES, CLASSES))
        np.add.at(table, (model.predict(test), y), 1)
        return 100 * float(table[linear_sum_assignment(-table)].sum()) / len(y)

    return lambda: model.fit(x), accuracy


CASES: dict[str, tuple[Callable[[Task], list[Found]], str, Callable[[Splits, float], Scored]]] = {
    "linear_probe": (LinearProbe(), "linear_probe/l2", linear_probe),
    "svm": (SVM(), "svm/c", svm),
    "gmm": (GMM(), "gmm/accuracy", gmm),
}
"""Protocols with the metric that scikit-learn's fit depends on, if any, and scikit-learn's fit."""


def beside(protocol: str, images: int, dim: int, device: torch.device, rounds: int) -> Found:
    """Median seconds of a protocol and of scikit-learn, the median and range of their ratio, and both accuracies."""
    run, setting, other = CASES[protocol]
    splits = make_splits(images, dim)
    (scores,) = run(make_task(splits, device))
    fit, accuracy = other(splits, scores[setting])
    fit()

    def timed(work: Callable[[], Any]) -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    seconds = alternate(
        {"other": lambda: timed(fit), "own": lambda: timed(lambda: run(make_task(splits, device)))}, rounds
    )
    ratios = [own / fitted for own, fitted in zip(seconds["own"], seconds["other"], strict=True)]
    return {
        "seconds": median(seconds["own"]),
        "other seconds": median(seconds["other"]),
        "ratio": median(ratios),
        "least ratio": min(ratios),
        "largest ratio": max(ratios),
        "accuracy": scores[f"{protocol}/accuracy"],
        "other accuracy": accuracy(),
    }


def table(rows: dict[str, Found]) -> list[str]:
    """Markdown table, and whether the linear probe reaches its goal."""
    lines = [
        "| protocol, images x features | seconds | scikit-learn, seconds | ratio (min to max) | accuracy, % "
        "| scikit-learn, % |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {row['seconds']:.3f} | {row['other seconds']:.3f} | {row['ratio']:.2f} "
        f"({row['least ratio']:.2f} to {row['largest ratio']:.2f}) | {row['accuracy']:.1f} "
        f"| {row['other accuracy']:.1f} |"
        for name, row in rows.items()
    ]
    goals = {name: row["ratio"] for name, row in rows.items() if name.startswith("linear_probe")}
    return [*lines, "", *(compare_with_goal(name, ratio, GOAL, at_most=True) for name, ratio in goals.items())]


def main() -> None:
    """Measure all protocols on all shapes, print the table and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    device = torch.device(options.device)
    origin = provenance(device.type)
    rows = {
        f"{protocol}, {images:,} x {dim:,}": beside(protocol, images, dim, device, options.rounds)
        for protocol in CASES
        for images, dim in SHAPES
    }
    text = f"""# Protocols on few images

{origin}.

Medians over {options.rounds} rounds. The linear probe and the SVM fit 7 values of their penalty and refit the best one,
to a tighter tolerance than scikit-learn's default; scikit-learn fits that one only. Both use 20 initialisations for the
mixture.

{chr(10).join(table(rows))}
"""
    print(text)
    if options.write:
        write("wide", text)


if __name__ == "__main__":
    main()
