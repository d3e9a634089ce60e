"""State of the anchors of a search batch: rows can be added and removed, and each has its own state of Adam."""

from typing import NamedTuple

import torch
from torch import Tensor

BETAS, EPSILON = (0.9, 0.999), 1e-8
"""Adam's defaults."""


class SearchState(NamedTuple):
    """State of the anchors that are being searched.

    Attributes:
        ids: ids of the anchors, int64 ``(N,)``.
        codes: codes of the views of each anchor, ``(N, n, L, D)``.
        target: projections of the anchors, ``(N, d)``.
        first: Adam's running mean of gradients, in the shape of the codes.
        second: Adam's running mean of squared gradients, in the shape of the codes.
        steps: number of steps taken for each anchor, ``(N,)``.
    """

    ids: Tensor
    codes: Tensor
    target: Tensor
    first: Tensor
    second: Tensor
    steps: Tensor

    def select(self, rows: Tensor) -> "SearchState":
        """Return the rows of a boolean mask ``(N,)``."""
        return SearchState(*(tensor[rows] for tensor in self))

    def concatenate(self, others: "SearchState") -> "SearchState":
        """Return these rows followed by others."""
        return SearchState(*(torch.cat(pair) for pair in zip(self, others, strict=True)))

    def adam_step(self, gradient: Tensor, lr: float) -> "SearchState":
        """Take a step of Adam in place; the bias correction of an anchor depends on its own number of steps.

        The class torch.optim.Adam has one step count for a whole tensor, and cannot add or remove rows.
        """
        steps = self.steps + 1
        first = self.first.lerp_(gradient, 1 - BETAS[0])
        second = self.second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        corrections = [(1 - beta**steps).view(-1, 1, 1, 1) for beta in BETAS]
        scale = (second / corrections[1]).sqrt_().add_(EPSILON)
        codes = self.codes.addcdiv_(first / corrections[0], scale, value=-lr)
        return self._replace(codes=codes, first=first, second=second, steps=steps)
