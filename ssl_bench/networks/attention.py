"""Self-attention between the positions of a feature map."""

import torch
from torch import Tensor, nn

from ssl_bench.networks.interfaces import Network


class SelfAttention(Network):
    """Self-attention of SAGAN (Zhang et al. 2019) as in BigGAN: ``(N, C, H, W)`` to the same shape.

    Keys and values are max-pooled by two. The output is multiplied by a learned gain, initialised to 0, and added to
    the input. Spectral normalisation is left to the network that contains the block. The products are explicit, because
    gradient penalties need second derivatives, which fused attention kernels do not have.

    Args:
        channels: C. Queries and keys have C // 8 channels, values have C // 2.
    """

    def __init__(self, channels: int):
        super().__init__()
        narrow, half = max(1, channels // 8), max(1, channels // 2)
        self.query = nn.Conv2d(channels, narrow, 1, bias=False)
        self.key = nn.Sequential(nn.Conv2d(channels, narrow, 1, bias=False), nn.MaxPool2d(2))
        self.value = nn.Sequential(nn.Conv2d(channels, half, 1, bias=False), nn.MaxPool2d(2))
        self.output = nn.Conv2d(half, channels, 1, bias=False)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to the same shape; H and W must be at least 2."""
        query, key, value = (part(x).flatten(2) for part in (self.query, self.key, self.value))
        weights = (query.transpose(1, 2) @ key).softmax(-1)  # (N, H W, H W / 4)
        attended: Tensor = self.output((value @ weights.transpose(1, 2)).unflatten(2, x.shape[2:]))
        return x + self.gain * attended
