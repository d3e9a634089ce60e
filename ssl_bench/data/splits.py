"""Rows of the training, validation and test split."""

from typing import Annotated

import torch
from torch import Tensor

from ssl_bench.data.contents import DatasetContents
from ssl_bench.ranges import Interval, check_ranges

TEST_FRACTION = 0.2
VALIDATION_FRACTION = 0.1
SPLIT_SEED = 0
Fraction = Annotated[float, Interval(0, 1, closed="neither")]


@check_ranges
def hold_out(labels: Tensor, fraction: Fraction, seed: int) -> Tensor:
    """Select a random stratified part of the labelled images.

    The fraction `fraction` of the images of every class is selected, rounded; at least one image if the class has two
    or more. With several targets, the selection is stratified by the first target that is not constant. Images without
    a label (-1) are never selected.

    Args:
        labels: int64 ``(N,)`` or ``(N, T)``.
        fraction: fraction to select, in (0, 1).
        seed: seed of the selection.

    Returns:
        bool ``(N,)``, true for the selected images.
    """
    if labels.dim() == 2:
        varying = (labels != labels[:1]).any(dim=0).nonzero()
        labels = labels[:, int(varying[0]) if len(varying) else 0]
    selected = torch.zeros(len(labels), dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    for label in torch.unique(labels[labels >= 0]):
        members = (labels == label).nonzero().squeeze(1)
        count = max(round(fraction * len(members)), int(len(members) > 1))
        selected[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    return selected


def split_rows(contents: DatasetContents) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of training, validation and test, int64; a split that is missing is held out of the training split."""
    train, validation, test = contents.train, contents.validation, contents.test
    if test is None:
        selected = hold_out(contents.labels[train], TEST_FRACTION, SPLIT_SEED)
        train, test = train[~selected], train[selected]
    if validation is None:
        selected = hold_out(contents.labels[train], VALIDATION_FRACTION, SPLIT_SEED)
        train, validation = train[~selected], train[selected]
    return train, validation, test
