"""Every protocol on every target: one table of figures for one encoder."""

import time
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_bench.data.types import Target
from ssl_bench.distributed import world_size
from ssl_bench.errors import UserError
from ssl_bench.evaluation import LABELLED, PROTOCOLS
from ssl_bench.evaluation.features import Features, FeatureSplit
from ssl_bench.evaluation.knn import KNN
from ssl_bench.evaluation.linear_probe import LinearProbe
from ssl_bench.evaluation.mlp_probe import MLPProbe
from ssl_bench.evaluation.rows import Rows
from ssl_bench.evaluation.subject import Subject
from ssl_bench.evaluation.task import Task

RESIDENT_SHARE = 0.5
"""Of the free memory of a GPU: features that take more are read from their file block by block."""


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
        protocols: names of the protocols to run; None for all that apply.
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

    def chosen(self, subject: Subject) -> list[str]:
        """Names of the protocols that a call runs."""
        if self.protocols is not None:
            return list(self.protocols)
        return [name for name in PROTOCOLS if name in LABELLED or getattr(self, name).applies(subject)]

    def __call__(self, subject: Subject) -> Result:
        """Run the protocols on all targets. Called in every process of a group, it returns the same in each."""
        groups, left_out = tasks(subject.features, subject.device)
        single = len(subject.features.targets) == 1
        metrics: dict[str, float] = {}
        seconds: dict[str, float] = {}
        failed: dict[str, str] = {}
        # A reason that only one process has, running out of memory say, must end it: the others wait for its sums.
        recorded = UserError if world_size() > 1 else (UserError, RuntimeError)
        for name in self.chosen(subject):
            start = time.perf_counter()
            try:
                _check(subject.features)
                protocol = getattr(self, name)
                if name in LABELLED:
                    found = {t: one for ts, task in groups for t, one in zip(ts, protocol(task), strict=True)}
                    metrics |= next(iter(found.values()), {}) if single else _by_target(found)
                else:
                    metrics |= protocol(subject)
            except recorded as error:
                failed[name] = (str(error) or type(error).__name__).splitlines()[0]
            seconds[name] = time.perf_counter() - start
        return Result(metrics, seconds, failed, left_out)


def _check(features: Features) -> None:
    x = features.train.features
    if all(torch.equal(x[:1].expand_as(part), part) for part in x.split(4096)):
        raise UserError(f"the features of all {len(x)} training images are the same: the encoder has collapsed")


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


def tasks(features: Features, device: torch.device) -> tuple[list[tuple[list[Target], Task]], tuple[str, ...]]:
    """Targets that are alike (classes, images with a label) with their task, and the names of targets left out."""
    splits: tuple[FeatureSplit, ...] = features[:3]
    if device.type == "cuda":
        size = sum(split.features.nbytes for split in splits)
        if size <= RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]:
            splits = tuple(split._replace(features=split.features.to(device)) for split in splits)
    alike: list[tuple[list[Tensor], list[Target], list[list[Tensor]]]] = []  # labelled rows, targets, their labels
    left_out = []
    for column, target in enumerate(features.targets):
        every = [split.labels.reshape(len(split.labels), -1)[:, column] for split in splits]
        rows = [labels >= 0 for labels in every]
        train, validation, test = labels = [one[row] for one, row in zip(every, rows, strict=True)]
        if _occurring(train) < 2 or _occurring(test) < 2 or not len(validation):
            left_out.append(target.name)
            continue
        for known, targets, columns in alike:
            if len(targets[0].classes) == len(target.classes) and all(map(torch.equal, known, rows)):
                targets.append(target)
                columns.append(labels)
                break
        else:
            alike.append((rows, [target], [labels]))
    shared: dict[str, dict[str, object]] = {}  # by the images, so that targets with other classes use it too
    result = []
    for rows, targets, columns in alike:
        train_rows, validation_rows, test_rows = (
            Rows(
                split.features,
                torch.stack(part, 1).to(device),
                device,
                None if row.all() else row.nonzero().squeeze(1).to(split.features.device),
            )
            for split, part, row in zip(splits, zip(*columns, strict=True), rows, strict=True)
        )
        images = str([row.numpy().tobytes() for row in rows])
        kept = shared.setdefault(images, {})
        result.append((targets, Task(train_rows, validation_rows, test_rows, len(targets[0].classes), kept)))
    return result, tuple(left_out)
