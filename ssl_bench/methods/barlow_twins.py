"""Barlow Twins: the cross-correlation matrix of the embeddings of two views is close to the identity."""

from typing import Any

import torch
from torch import Tensor

from ssl_bench.losses.redundancy import barlow_twins
from ssl_bench.methods.multi_view import MultiView
from ssl_bench.networks.interfaces import BackboneFactory, ProjectorFactory
from ssl_bench.ranges import NonNegativeFloat, PositiveFloat, check_ranges


@check_ranges
class BarlowTwins(MultiView):
    """Barlow Twins (Zbontar et al. 2021, arXiv 2103.03230): without negatives, teacher and predictor.

    Correlations are those of the images of all processes.

    Args:
        image_shape: shape of one view; the command line takes it from the data.
        backbone: see `MultiView`.
        projector: see `MultiView`.
        redundancy_weight: lambda in Eq. 1.
        scale: factor of the whole loss. Published learning rates belong to 0.1 in solo-learn and 0.024 in the first
            release of the paper's code.
        **kwargs: joint_forward, see `MultiView`; optimizer, schedule and decay_all, see `Method`.

    Example:
        ``ssl-bench bench --method barlow_twins --data digits``
    """

    most_views = 2

    def __init__(
        self,
        image_shape: tuple[int, ...],
        backbone: BackboneFactory,
        projector: ProjectorFactory,
        redundancy_weight: NonNegativeFloat = 5e-3,
        scale: PositiveFloat = 0.1,
        **kwargs: Any,
    ):
        super().__init__(image_shape, backbone, projector, **kwargs)
        self.lambda_, self.scale = redundancy_weight, scale

    def objective(self, embeddings: Tensor) -> dict[str, Tensor]:
        """`scale` times the loss of Eq. 1 of embeddings ``(2, N, d)``."""
        with torch.autocast(embeddings.device.type, enabled=False):
            z_a, z_b = embeddings
            return {"loss": self.scale * barlow_twins(z_a, z_b, self.lambda_)}
