"""Which images are held out."""

import torch
from torch import Tensor


def hold_out(labels: Tensor, fraction: float, seed: int) -> Tensor:
    """Draws a stratified part of the labelled images.

    Every class gives ``fraction`` of its images, rounded, and at least one if it has two or more. With several
    targets the first that is not constant is stratified. Images without a label (-1) are never drawn.

    Args:
        labels: int64 ``(N,)`` or ``(N, T)``.
        fraction: The part to draw, in (0, 1).
        seed: Fixes the draw.

    Returns:
        bool ``(N,)``, true where drawn.
    """
    if labels.dim() == 2:
        varying = (labels != labels[:1]).any(dim=0).nonzero()
        labels = labels[:, int(varying[0]) if len(varying) else 0]
    drawn = torch.zeros(len(labels), dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    for label in torch.unique(labels[labels >= 0]):
        members = (labels == label).nonzero().squeeze(1)
        count = max(round(fraction * len(members)), int(len(members) > 1))
        drawn[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    return drawn
