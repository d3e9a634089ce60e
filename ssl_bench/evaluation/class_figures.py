"""Figures of the classes of a target: clusters, accuracies, and coordinates of a map."""

import json
from pathlib import Path

import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ssl_bench.data.types import Target
from ssl_bench.evaluation.features import Features
from ssl_bench.files import replacing
from ssl_bench.plots import primitives

DIGITS = 5
"""Significant digits of the coordinates in ``map.json``."""


def plotted_target(features: Features) -> tuple[Target, Tensor, Tensor]:
    """The first target with the most classes, and its labels ``(N,)`` in train and in test."""
    column = max(range(len(features.targets)), key=lambda i: len(features.targets[i].classes))
    train, test = (part.labels.reshape(len(part.labels), -1)[:, column] for part in (features.train, features.test))
    return features.targets[column], train, test


def write_map(folder: Path, rows: Tensor, labels: Tensor, target: Target, projections: dict[str, Tensor]) -> None:
    """Write the coordinates of a map to ``figures/map.json``, from which the report aligns the maps of several runs.

    Args:
        folder: the run folder.
        rows: rows of the test images in the map, int64 ``(n,)``.
        labels: labels of these images, int64 ``(n,)``; -1 for none.
        target: target of the labels.
        projections: coordinates ``(n, 2)`` by the name of the projection.
    """
    content = {
        "target": target.name,
        "classes": list(target.classes),
        "colours": [to_hex(colour) for colour in primitives.class_colours(len(target.classes))],
        "rows": rows.tolist(),
        "labels": labels.tolist(),
        "maps": {
            name: [[float(f"{value:.{DIGITS}g}") for value in point] for point in points.tolist()]
            for name, points in projections.items()
        },
    }
    with replacing(folder / "figures" / "map.json") as file:
        file.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")


def confusion(counts: Tensor, target: Target, title: str, metric: str = "kmeans_best/accuracy") -> Figure:
    """Plot classes against clusters.

    Args:
        counts: number of test images of each cluster and class, int ``(K, C)``.
        target: the target of the classes.
        title: title of the figure, to which the accuracy is added.
        metric: name of the accuracy in tables.
    """
    of_class = counts.T
    matched = of_class[:, torch.from_numpy(linear_sum_assignment(of_class.numpy(), maximize=True)[1])]
    accuracy = 100 * matched.trace().item() / counts.sum().item()
    return primitives.confusion(matched, target.classes, f"{title}\n{metric} {accuracy:.1f} %")


def class_accuracies(right: Tensor, labels: Tensor, target: Target, title: str) -> Figure:
    """Plot the accuracy of each class that occurs.

    Args:
        right: whether the class of each test image is predicted, float64 ``(N,)``.
        labels: classes of the test images, int64 ``(N,)``.
        target: the target of the classes.
        title: title of the figure.
    """
    occurring = labels.unique()
    accuracy = torch.stack([100 * right[labels == label].mean() for label in occurring])
    names = [target.classes[label] for label in occurring.tolist()]
    return primitives.bars(accuracy, names, 100 * right.mean().item(), title)
