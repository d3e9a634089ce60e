"""Exponential moving average of a network's weights."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


@torch.no_grad()
def average_parameters(average: Iterable[Tensor], parameters: Iterable[Tensor], decay: float) -> None:
    """Update averages in place: ``decay * average + (1 - decay) * parameter``, all tensors in one fused operation.

    Args:
        average: the averages.
        parameters: the parameters in training, in the same order and of the same shapes.
        decay: weight of the average, in [0, 1].
    """
    torch._foreach_lerp_(list(average), list(parameters), 1 - decay)


@torch.no_grad()
def move_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Update an average in place: parameters as in `average_parameters`; buffers are copied.

    It is called by `Adversarial.training_step`. torch's AveragedModel does the same, but synchronises with the
    device twice per step to read a counter. The copied running statistics of BatchNorm do not fit averaged weights:
    re-estimate them with `torch.optim.swa_utils.update_bn` before the average is used.

    Args:
        average: a copy of the network, made by `copy.deepcopy`.
        network: the network in training.
        decay: weight of the average, in [0, 1].
    """
    average_parameters(average.parameters(), network.parameters(), decay)
    if buffers := list(average.buffers()):
        torch._foreach_copy_(buffers, list(network.buffers()))
