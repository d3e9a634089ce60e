"""Projection head of DINO, whose outputs are similarities to prototypes."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_bench.networks.interfaces import Network
from ssl_bench.ranges import PositiveInt, check_ranges


@check_ranges
class DINOHead(Network):
    """Fully connected layers with GELU between them, then cosines with prototypes: ``(N, inputs) -> (N, outputs)``.

    It is the head of DINO (Caron et al. 2021, arXiv 2104.14294, appendix C). Prototypes are normalised in every forward
    pass, which equals weight normalisation with a fixed norm of 1. Initial weights have the standard deviation
    1 / sqrt(inputs), which at the published width of 2,048 is about the published 0.02. The cosines are computed in
    float32 also under autocast, because the loss divides them by a small temperature.

    Args:
        inputs: length of one feature vector.
        outputs: K, number of prototypes; 65536 in the paper.
        hidden: widths of the hidden layers.
        bottleneck: length of the prototypes.
        norm: if True, every hidden layer has BatchNorm.
    """

    def __init__(
        self,
        inputs: PositiveInt,
        outputs: PositiveInt = 4096,
        hidden: tuple[PositiveInt, ...] = (2048, 2048),
        bottleneck: PositiveInt = 256,
        norm: bool = False,
    ):
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise((inputs, *hidden)):
            layers += [nn.Linear(before, after), *([nn.BatchNorm1d(after)] if norm else []), nn.GELU()]
        self.layers = nn.Sequential(*layers, nn.Linear((inputs, *hidden)[-1], bottleneck))
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=layer.in_features**-0.5)
                nn.init.zeros_(layer.bias)
        self.prototypes = nn.Linear(bottleneck, outputs, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """``(N, inputs) -> (N, outputs)``, in [-1, 1]."""
        z: Tensor = self.layers(features)
        with torch.autocast(z.device.type, enabled=False):
            return F.normalize(z.float(), dim=1) @ F.normalize(self.prototypes.weight, dim=1).T
