"""Group the targets of a data set into tasks: targets with the same classes and labelled images are scored together."""

from dataclasses import replace
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_bench.data.types import Target
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.features import Features
from ssl_bench.evaluation.rows import Rows
from ssl_bench.evaluation.task import Task

RESIDENT_SHARE = 0.5
"""Features are moved to a GPU if they need at most this fraction of its free memory, else read from their file."""


class TaskGroup(NamedTuple):
    """Targets that are scored together, and their task, whose label columns are these targets."""

    targets: list[Target]
    task: Task


class _Group(NamedTuple):
    labelled: list[Tensor]  # of each split, bool (N,): the images that have a label
    targets: list[Target]
    labels: list[list[Tensor]]  # of each target and split, of the labelled images


def task_groups(encoder: EvaluatedEncoder) -> tuple[list[TaskGroup], tuple[str, ...]]:
    """Group targets with the same number of classes and the same labelled images.

    Returns:
        The groups, and the names of targets that cannot be scored because fewer than two of their classes occur in
        train or in test, or no validation image has a label.
    """
    features, device = encoder.features, encoder.device
    groups: list[_Group] = []
    skipped = []
    for column, target in enumerate(features.targets):
        every = [split.labels.reshape(len(split.labels), -1)[:, column] for split in features[:3]]
        labelled = [labels >= 0 for labels in every]
        train, validation, test = labels = [one[rows] for one, rows in zip(every, labelled, strict=True)]
        if _number_of_classes(train) < 2 or _number_of_classes(test) < 2 or not len(validation):
            skipped.append(target.name)
            continue
        for group in groups:
            same_size = len(group.targets[0].classes) == len(target.classes)
            if same_size and all(map(torch.equal, group.labelled, labelled)):
                break
        else:
            groups.append(group := _Group(labelled, [], []))
        group.targets.append(target)
        group.labels.append(labels)
    noisy = [layer for layers in encoder.noisy.values() for layer in layers]
    splits, *others = (_on_device(one, device) for one in (features, *encoder.augmented, *encoder.layers, *noisy))
    augmented, layers = others[: len(encoder.augmented)], others[len(encoder.augmented) :]
    shared: dict[str, dict[str, object]] = {}  # by labelled images; groups with the same images share moments
    result = []
    for labelled, targets, columns in groups:
        y = [torch.stack(part, 1).to(device) for part in zip(*columns, strict=True)]

        def rows(split: int, source: tuple[Tensor, ...], y: list[Tensor] = y, known: list[Tensor] = labelled) -> Rows:
            index = features[:3][split].rows
            if not known[split].all():
                index = known[split].nonzero().squeeze(1) if index is None else index[known[split]]
            return Rows(source[split], y[split], device, None if index is None else index.to(source[split].device))

        images = str([part.numpy().tobytes() for part in labelled])
        task, *by_layer = (
            Task(
                rows(0, source),
                rows(1, source),
                rows(2, source),
                len(targets[0].classes),
                shared.setdefault(f"{number} {images}", {}),
            )
            for number, source in enumerate((splits, *layers))
        )
        passes = tuple((rows(0, one), rows(1, one)) for one in augmented)
        of_noise = iter(by_layer[len(encoder.layers) :])
        result.append(
            TaskGroup(
                targets,
                replace(
                    task,
                    augmented=passes,
                    layers=tuple(by_layer[: len(encoder.layers)]),
                    noisy={t: tuple(islice(of_noise, len(layers))) for t, layers in encoder.noisy.items()},
                ),
            )
        )
    return result, tuple(skipped)


def _number_of_classes(labels: Tensor) -> int:
    return int(torch.bincount(labels).count_nonzero())


def _on_device(features: Features, device: torch.device) -> tuple[Tensor, ...]:
    """Features of the splits, moved to a GPU if they fit."""
    splits = tuple(split.features for split in features[:3])
    different = {id(x): x for x in splits}  # splits that are held out share their tensor
    if device.type == "cuda":
        fits = sum(x.nbytes for x in different.values()) <= RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]
        different = {key: x.to(device) if fits else x for key, x in different.items()}
    return tuple(different[id(x)] for x in splits)
