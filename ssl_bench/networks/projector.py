"""Projection and prediction heads on a backbone's features."""

import itertools

from torch import Tensor, nn

from ssl_bench.networks.interfaces import Network
from ssl_bench.ranges import PositiveInt, check_ranges


@check_ranges
class ProjectionHead(Network):
    """Fully connected layers with ReLU between them: ``(N, inputs) -> (N, outputs)``.

    The default is the head of SimCLR in E-SSL, which "Constructive Assimilation" uses on CIFAR-10.

    Args:
        inputs: length of one feature vector.
        outputs: length of one projection.
        hidden: widths of the hidden layers.
        norm: if True, every hidden layer has BatchNorm instead of a bias. False gives the head of SupContrast.
        norm_outputs: if True, the last layer has BatchNorm without scale and shift instead of a bias.
    """

    def __init__(
        self,
        inputs: PositiveInt,
        outputs: PositiveInt = 2048,
        hidden: tuple[PositiveInt, ...] = (2048,),
        norm: bool = True,
        norm_outputs: bool = True,
    ):
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise((inputs, *hidden)):
            layers += [nn.Linear(before, after, bias=not norm), *([nn.BatchNorm1d(after)] if norm else []), nn.ReLU()]
        layers.append(nn.Linear((inputs, *hidden)[-1], outputs, bias=not norm_outputs))
        if norm_outputs:
            layers.append(nn.BatchNorm1d(outputs, affine=False))
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """``(N, inputs) -> (N, outputs)``."""
        projections: Tensor = self.layers(features)
        return projections
