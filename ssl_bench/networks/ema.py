"""Exponential moving average of a network's weights."""

import torch
from torch import nn


@torch.no_grad()
def move_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """One step of the average, in place: parameters ``decay * average + (1 - decay) * network``, buffers copied.

    torch's AveragedModel does this too, but waits for the device twice in every step to ask how many it has seen.
    Running statistics of BatchNorm are copied with the other buffers and do not fit averaged weights: estimate them
    with `torch.optim.swa_utils.update_bn` before the average is used.

    Args:
        average: a copy of the network, as `copy.deepcopy` makes it.
        network: what is averaged.
        decay: in [0, 1].
    """
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
    if buffers := list(average.buffers()):
        torch._foreach_copy_(buffers, list(network.buffers()))
