"""Exponential moving average of a network's weights."""

import torch
from torch import nn


@torch.no_grad()
def move_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Update an average in place: parameters ``decay * average + (1 - decay) * network``; buffers are copied.

    It is called by `Adversarial.training_step`. torch's AveragedModel does the same, but synchronises with the
    device twice per step to read a counter. The copied running statistics of BatchNorm do not fit averaged weights:
    re-estimate them with `torch.optim.swa_utils.update_bn` before the average is used.

    Args:
        average: a copy of the network, made by `copy.deepcopy`.
        network: the network in training.
        decay: weight of the average, in [0, 1].
    """
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
    if buffers := list(average.buffers()):
        torch._foreach_copy_(buffers, list(network.buffers()))
