"""Layers of StyleGAN2's networks: layers with equalised learning rates, and resampling with a low-pass filter.

Weights are initialised from N(0, 1) and scaled in the forward pass. Adam's steps do not depend on the scale of a
weight, so all layers then change at the same relative rate (Karras et al. 2017, arXiv 1710.10196, section 4.1).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_bench.networks.interfaces import Network


def leaky(x: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2 with gain sqrt 2, which nearly preserves the variance of symmetric inputs."""
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


def pixel_norm(x: Tensor) -> Tensor:
    """Every vector ``(N, D)`` scaled to a root mean square of 1."""
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class EqualizedLinear(Network):
    """Linear layer ``(N, inputs) -> (N, outputs)`` with an equalised learning rate.

    Args:
        inputs: length of an input.
        outputs: length of an output.
        bias: initial value of the bias.
        multiplier: factor on the learning rate of weight and bias.
    """

    def __init__(self, inputs: int, outputs: int, bias: float = 0.0, multiplier: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / multiplier)
        self.bias = nn.Parameter(torch.full((outputs,), bias / multiplier))
        self.multiplier, self.scale = multiplier, multiplier / math.sqrt(inputs)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs) -> (N, outputs)``."""
        return F.linear(x, self.weight * self.scale, self.bias * self.multiplier)


class EqualizedConv2d(Network):
    """Convolution with an equalised learning rate, ``(N, inputs, H, W) -> (N, outputs, H, W)``.

    Args:
        inputs: number of input channels.
        outputs: number of output channels.
        kernel: side of the kernel, odd.
        bias: if True, add a bias.
        down: if True, apply the low-pass filter and halve the image.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, bias: bool = True, down: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.scale = 1 / math.sqrt(inputs * kernel**2)
        self.stride, self.padding = (2, 0) if down else (1, kernel // 2)
        self.blur = Blur(1 + kernel // 2) if down else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W) -> (N, outputs, H, W)``, half the size if ``down``."""
        return F.conv2d(self.blur(x), self.weight * self.scale, self.bias, self.stride, self.padding)


class Blur(Network):
    """The normalised low-pass filter [1, 3, 3, 1] on rows and columns of images ``(N, C, H, W)``, with zero padding.

    The filter is a depthwise convolution. On a CPU this is at least as fast as separable filters, box filters,
    interpolation or a filter merged into the adjacent convolution. The gradient is slow with stride 2, so all pixels
    are filtered even if only every second one is needed.

    Args:
        padding: padding on each side in px; the output is ``2 * padding - 3`` px larger than the input.
        gain: sum of the filter's coefficients; 4 if three of four pixels were filled with zeros.
    """

    filter: Tensor

    def __init__(self, padding: int, gain: float = 1.0):
        super().__init__()
        row = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.register_buffer("filter", gain * torch.outer(row, row), persistent=False)
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W) -> (N, C, H', W')``."""
        each = self.filter.to(x.dtype).expand(x.shape[1], 1, 4, 4)
        return F.conv2d(x, each, padding=self.padding, groups=x.shape[1])


class Upsample(Blur):
    """Double the size of images with the low-pass filter: ``(N, C, H, W) -> (N, C, 2 H, 2 W)``."""

    def __init__(self) -> None:
        super().__init__(padding=1, gain=4.0)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W) -> (N, C, 2 H, 2 W)``."""
        each = self.filter.to(x.dtype).expand(x.shape[1], 1, 4, 4)
        return F.conv_transpose2d(x, each, stride=2, padding=self.padding, groups=x.shape[1])
