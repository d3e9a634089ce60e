"""VICReg: views of an image agree, and components of the embeddings vary and are uncorrelated."""

from typing import Any

import torch
from torch import Tensor

from ssl_bench.losses.redundancy import covariance, invariance, variance
from ssl_bench.methods.multi_view import MultiView
from ssl_bench.networks.interfaces import BackboneFactory, ProjectorFactory
from ssl_bench.ranges import NonNegativeFloat, check_ranges


@check_ranges
class VICReg(MultiView):
    """VICReg (Bardes et al. 2022, arXiv 2105.04906): without negatives, teacher and predictor.

    Variances and covariances are those of the images of all processes. In two details paper and released code disagree:
    as in the code, the invariance is divided by the length of an embedding, for which the weights are tuned; as in the
    paper (Eq. 6), the variance terms of both views are added, where the code takes their mean.

    Args:
        image_shape: shape of one view; the command line takes it from the data.
        backbone: see `MultiView`.
        projector: see `MultiView`; called the expander in the paper.
        invariance_weight: lambda in Eq. 6.
        variance_weight: mu in Eq. 6.
        covariance_weight: nu in Eq. 6.
        **kwargs: joint_forward, see `MultiView`; optimizer, schedule and decay_all, see `Method`.

    Example:
        ``ssl-bench bench --method vicreg --data digits``
    """

    most_views = 2

    def __init__(
        self,
        image_shape: tuple[int, ...],
        backbone: BackboneFactory,
        projector: ProjectorFactory,
        invariance_weight: NonNegativeFloat = 25.0,
        variance_weight: NonNegativeFloat = 25.0,
        covariance_weight: NonNegativeFloat = 1.0,
        **kwargs: Any,
    ):
        super().__init__(image_shape, backbone, projector, **kwargs)
        self.lambda_, self.mu, self.nu = invariance_weight, variance_weight, covariance_weight

    def objective(self, embeddings: Tensor) -> dict[str, Tensor]:
        """The weighted sum of Eq. 6 of embeddings ``(2, N, d)``."""
        with torch.autocast(embeddings.device.type, enabled=False):
            z, z_prime = embeddings
            v = variance(z) + variance(z_prime)
            c = covariance(z) + covariance(z_prime)
            s = invariance(z, z_prime)
            loss = self.lambda_ * s + self.mu * v + self.nu * c
        return {"variance": v, "covariance": c, "invariance": s, "loss": loss}
