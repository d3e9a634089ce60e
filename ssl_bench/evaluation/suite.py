"""Every protocol on every target: one table of figures for one encoder."""

import time
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_bench.data.types import Target
from ssl_bench.errors import UserError
from ssl_bench.evaluation import PROTOCOLS
from ssl_bench.evaluation.features import Features
from ssl_bench.evaluation.knn import KNN
from ssl_bench.evaluation.linear_probe import LinearProbe
from ssl_bench.evaluation.mlp_probe import MLPProbe
from ssl_bench.evaluation.task import EvaluationProtocol, Task


class Result(NamedTuple):
    """What the protocols found.

    Attributes:
        metrics: figures by name. ``<protocol>/<figure>`` for data with one target; with more,
            ``<protocol>/<figure>_<target>`` for each, and ``<protocol>/accuracy`` the mean over the two-class ones.
        seconds: wall time of each protocol, over all targets.
        failed: one-line reason of each protocol that failed; it has no metrics.
        left_out: targets that nothing can be learned or tested about, and that are in no metric: under two classes
            occur in train or in test, or none in validation.
    """

    metrics: dict[str, float]
    seconds: dict[str, float]
    failed: dict[str, str]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Evaluation:
    """Scores features by the chosen protocols, one after the other; one that fails does not stop the rest.

    Args:
        protocols: names of the protocols to run; None for all.
        linear_probe: settings of the linear probe.
        mlp_probe: settings of the MLP probe.
        knn: settings of the nearest-neighbour classifier.
    """

    protocols: tuple[str, ...] | None = None
    linear_probe: LinearProbe = field(default_factory=LinearProbe)
    mlp_probe: MLPProbe = field(default_factory=MLPProbe)
    knn: KNN = field(default_factory=KNN)

    def __post_init__(self) -> None:
        for name in self.protocols or ():
            if name not in PROTOCOLS:
                near = get_close_matches(name, PROTOCOLS, n=3, cutoff=0) or PROTOCOLS
                raise UserError(f"evaluation.protocols: no protocol {name!r}; nearest: {', '.join(near)}")

    def __call__(self, features: Features, device: torch.device) -> Result:
        """Run the protocols on all targets, computing on ``device``."""
        groups, left_out = _tasks(features, device)
        single = len(features.targets) == 1
        metrics: dict[str, float] = {}
        seconds: dict[str, float] = {}
        failed: dict[str, str] = {}
        for name in self.protocols or PROTOCOLS:
            start = time.perf_counter()
            try:
                found = _run(getattr(self, name), groups)
                metrics |= next(iter(found.values()), {}) if single else _by_target(found)
            except (UserError, RuntimeError) as error:
                failed[name] = (str(error) or type(error).__name__).splitlines()[0]
            seconds[name] = time.perf_counter() - start
        return Result(metrics, seconds, failed, left_out)


def _run(protocol: EvaluationProtocol, groups: list[dict[Target, Task]]) -> dict[Target, dict[str, float]]:
    """Each target's figures. What the tasks of a group share is kept for this protocol only, to bound memory."""
    found = {}
    for group in groups:
        shared: dict[str, object] = {}
        for target, task in group.items():
            found[target] = protocol(replace(task, shared=shared))
    return found


def _by_target(found: dict[Target, dict[str, float]]) -> dict[str, float]:
    """Every target's figures under its name, and the mean accuracies of the two-class targets."""
    metrics = {f"{key}_{target.name}": value for target, one in found.items() for key, value in one.items()}
    binary = [one for target, one in found.items() if len(target.classes) == 2]
    means = {
        key: sum(one[key] for one in binary) / len(binary)
        for key in (binary[0] if binary else ())
        if key.endswith("/accuracy")
    }
    return means | metrics


def _occurring(labels: Tensor) -> int:
    return int(torch.bincount(labels).count_nonzero())


class _Group(NamedTuple):
    rows: list[Tensor]  # bool (N,) for each split: images with a label
    features: list[Tensor]
    tasks: dict[Target, Task]


def _tasks(features: Features, device: torch.device) -> tuple[list[dict[Target, Task]], tuple[str, ...]]:
    """Tasks of the targets, grouped by which images have a label, and the names of targets left out."""
    splits = features[:3]
    groups: list[_Group] = []
    left_out = []
    for column, target in enumerate(features.targets):
        every = [split.labels.reshape(len(split.labels), -1)[:, column] for split in splits]
        rows = [labels >= 0 for labels in every]
        train, validation, test = (labels[row].to(device) for labels, row in zip(every, rows, strict=True))
        if _occurring(train) < 2 or _occurring(test) < 2 or not len(validation):
            left_out.append(target.name)
            continue
        group = next((group for group in groups if all(map(torch.equal, group.rows, rows))), None)
        if group is None:
            chosen = [
                (split.features if row.all() else split.features[row]).to(device)
                for split, row in zip(splits, rows, strict=True)
            ]
            group = _Group(rows, chosen, {})
            groups.append(group)
        train_x, validation_x, test_x = group.features
        group.tasks[target] = Task(train_x, train, validation_x, validation, test_x, test, len(target.classes))
    return [group.tasks for group in groups], tuple(left_out)
