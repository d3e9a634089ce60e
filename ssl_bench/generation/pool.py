"""What is searched at a time: rows that come and go, each with an Adam of its own."""

from typing import NamedTuple

import torch
from torch import Tensor

BETAS, EPSILON = (0.9, 0.999), 1e-8
"""Adam's defaults."""


class Pool(NamedTuple):
    """Anchors that are being searched.

    Attributes:
        ids: int64 ``(N,)``.
        codes: of their views, ``(N, n, L, D)``.
        target: their projections ``(N, d)``.
        first: Adam's mean of gradients, as the codes.
        second: Adam's mean of squared gradients, likewise.
        steps: that each has taken, ``(N,)``.
    """

    ids: Tensor
    codes: Tensor
    target: Tensor
    first: Tensor
    second: Tensor
    steps: Tensor

    def keep(self, rows: Tensor) -> "Pool":
        """Those rows, by a mask ``(N,)``."""
        return Pool(*(tensor[rows] for tensor in self))

    def join(self, others: "Pool") -> "Pool":
        """These and others."""
        return Pool(*(torch.cat(pair) for pair in zip(self, others, strict=True)))

    def step(self, gradient: Tensor, lr: float) -> "Pool":
        """A step of Adam in place, each anchor's bias correction its own: torch's cannot lose and gain rows."""
        steps = self.steps + 1
        first = self.first.lerp_(gradient, 1 - BETAS[0])
        second = self.second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        corrections = [(1 - beta**steps).view(-1, 1, 1, 1) for beta in BETAS]
        scale = (second / corrections[1]).sqrt_().add_(EPSILON)
        codes = self.codes.addcdiv_(first / corrections[0], scale, value=-lr)
        return self._replace(codes=codes, first=first, second=second, steps=steps)
