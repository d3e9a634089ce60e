"""Memory layout of convolutions."""

import torch
from torch import nn

FEWEST_CHANNELS = 8
"""Numbers of float32 in a register of AVX2."""


def use_channels_last(module: nn.Module) -> bool:
    """Store the weights of convolutions in channels_last, unless PyTorch would then corrupt memory.

    On x86 processors without AVX-512, the gradient of a 1x1 convolution with a stride and fewer than 8 input channels
    is wrong in this layout, and is written beyond its buffer (issue 6035 of oneDNN, with torch 2.15 in float32). A
    module with such a convolution keeps its layout.

    Args:
        module: changed in place.

    Returns:
        Whether the layout was changed.

    Example:
        >>> from torch import nn
        >>> use_channels_last(nn.Conv2d(16, 32, 1, stride=2))
        True
    """
    if torch.backends.cpu.get_cpu_capability() == "AVX2" and any(map(_is_unsafe, module.modules())):
        return False
    module.to(memory_format=torch.channels_last)
    return True


def _is_unsafe(layer: nn.Module) -> bool:
    if not isinstance(layer, nn.Conv2d):
        return False
    strided = layer.kernel_size == (1, 1) and layer.stride != (1, 1)
    return strided and layer.in_channels // layer.groups < FEWEST_CHANNELS
