"""Stratified hold-out."""

import torch

from ssl_bench.data.splits import hold_out

LABELS = torch.tensor([0] * 100 + [1] * 20 + [2] * 2 + [3] + [-1] * 50)


def test_the_same_part_of_each_class_and_no_unlabelled_image_is_selected() -> None:
    drawn = LABELS[hold_out(LABELS, 0.1, seed=0)]
    assert [int((drawn == label).sum()) for label in range(-1, 4)] == [0, 10, 2, 1, 0]


def test_the_selection_depends_only_on_the_seed() -> None:
    assert torch.equal(hold_out(LABELS, 0.1, seed=0), hold_out(LABELS, 0.1, seed=0))
    assert not torch.equal(hold_out(LABELS, 0.1, seed=0), hold_out(LABELS, 0.1, seed=1))


def test_the_first_target_that_varies_is_stratified() -> None:
    constant, third = torch.zeros(len(LABELS), dtype=torch.int64), torch.arange(len(LABELS)) % 2
    several = torch.stack([constant, LABELS, third], dim=1)
    assert torch.equal(hold_out(several, 0.1, seed=0), hold_out(LABELS, 0.1, seed=0))
