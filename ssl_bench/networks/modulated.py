"""Layers of StyleGAN2's generator: modulated convolutions (Karras et al. 2020, arXiv 1912.04958, section 2.2)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_bench.networks.equalized import Blur, EqualizedLinear, leaky
from ssl_bench.networks.interfaces import Network


class ModulatedConv2d(Network):
    """Convolution whose weights are scaled by a style for each image and demodulated to unit variance (Eq. 1 to 3).

    The weights of single images are not formed. Instead, the inputs are scaled, convolved in one batch, and the outputs
    are scaled. This is equivalent to a convolution grouped by images, which took 1.3 to 4 times as long in bf16 with
    channels_last, and 0.9 to 5 times as long in float32 (one step of the layer on a CPU).

    Args:
        inputs: number of input channels.
        outputs: number of output channels.
        kernel: side of the kernel, odd.
        style_dim: length of a code.
        demodulate: if True, divide every output channel by the norm of its weights (Eq. 3).
        up: if True, double the image and apply the low-pass filter.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, style_dim: int, demodulate: bool = True, up: bool = False
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.scale = 1 / math.sqrt(inputs * kernel**2)
        self.style = EqualizedLinear(style_dim, inputs, bias=1.0)
        self.demodulate, self.padding = demodulate, kernel // 2
        self.blur = Blur(1, gain=4.0) if up else None

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Images ``(N, inputs, H, W)`` and codes ``(N, style_dim)`` to ``(N, outputs, H, W)``, doubled if ``up``."""
        style, weight = self.style(code), self.weight * self.scale
        x = x * style[:, :, None, None]
        if self.blur is None:
            y = F.conv2d(x, weight, padding=self.padding)
        else:
            y = self.blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2))
        if self.demodulate:
            norm = (style.square() @ weight.square().sum((2, 3)).T + 1e-8).rsqrt()
            y = y * norm[:, :, None, None]
        return y


class StyledConv(Network):
    """A modulated 3x3 convolution, noise, bias and leaky ReLU; noise is fixed in evaluation mode.

    Args:
        inputs: number of input channels.
        outputs: number of output channels.
        size: height and width of the output in px.
        style_dim: length of a code.
        up: if True, double the image.
    """

    noise: Tensor

    def __init__(self, inputs: int, outputs: int, size: int, style_dim: int, up: bool = False):
        super().__init__()
        self.conv = ModulatedConv2d(inputs, outputs, 3, style_dim, up=up)
        self.strength = nn.Parameter(torch.zeros(1))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("noise", torch.randn(1, 1, size, size))

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` and codes ``(N, style_dim)`` to ``(N, outputs, size, size)``."""
        y = self.conv(x, code)
        noise = torch.randn_like(y[:, :1]) if self.training else self.noise.to(y.dtype)
        return leaky(y + self.strength.to(y.dtype) * noise + self.bias.to(y.dtype)[:, None, None])


class ToImage(Network):
    """A modulated 1x1 convolution to the channels of an image, without demodulation."""

    def __init__(self, inputs: int, outputs: int, style_dim: int):
        super().__init__()
        self.conv = ModulatedConv2d(inputs, outputs, 1, style_dim, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` and codes ``(N, style_dim)`` to ``(N, outputs, H, W)``."""
        return self.conv(x, code) + self.bias[:, None, None]
