"""Curves of training runs against the epoch: validation accuracies and the loss."""

from math import isfinite
from pathlib import Path

from ssl_bench.results.training_log import read_log

LOSS = "train/loss"
POINTS = 100
"""Most points of a curve."""
Curve = list[tuple[float, float]]


def read_curves(folder: Path) -> dict[str, Curve]:
    """Curves of a run by their names: ``validation/...`` and ``train/loss``; empty without a log that can be read.

    The loss is the mean over the logged steps of an epoch, at the end of the epoch. Long curves are thinned to about
    `POINTS` points, the last one included. Values that are not finite are left out.
    """
    logs = folder / "logs"
    try:
        validation, training = (read_log(logs, prefix, against="epoch") for prefix in ("validation/", "train/"))
    except (OSError, ValueError, KeyError):  # another kind of log
        return {}
    curves: dict[str, Curve] = {f"validation/{name}": [*points] for name, points in validation.items()}
    epochs: dict[int, list[float]] = {}
    for epoch, value in training.get("loss", []):
        epochs.setdefault(epoch, []).append(value)
    if epochs:
        curves[LOSS] = [(epoch + 1, sum(values) / len(values)) for epoch, values in sorted(epochs.items())]
    finite = {name: [point for point in points if isfinite(point[1])] for name, points in curves.items()}
    return {name: _thinned(points) for name, points in finite.items() if points}


def _thinned(points: Curve) -> Curve:
    step = -(-len(points) // POINTS)
    return points[(len(points) - 1) % step :: step]
