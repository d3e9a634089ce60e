"""LeJEPA: views predict their mean, and embeddings are distributed like an isotropic Gaussian."""

from typing import Any

import torch
from torch import Tensor

from ssl_bench.losses.sigreg import directions, prediction, sigreg
from ssl_bench.methods.multi_view import MultiView
from ssl_bench.networks.interfaces import BackboneFactory, ProjectorFactory
from ssl_bench.ranges import PositiveInt, UnitFloat, check_ranges


@check_ranges
class LeJEPA(MultiView):
    """LeJEPA (Balestriero & LeCun 2025, arXiv 2511.08544): without negatives, teacher, stop-gradient and queue.

    The statistic of Epps and Pulley compares the embeddings in random directions with a standard normal distribution.
    It is that of the images of all processes. Directions are new in every step; they depend on the number of the step
    only, so that all processes have the same, and a resumed run has those of an uninterrupted run.

    Args:
        image_shape: shape of one view; the command line takes it from the data.
        backbone: see `MultiView`.
        projector: see `MultiView`. BatchNorm in it makes the embeddings independent of the scale of the features.
        sigreg_weight: lambda, the weight of the regularisation; the prediction has 1 - lambda.
        num_directions: M, the number of directions in a step.
        **kwargs: joint_forward, see `MultiView`; optimizer, schedule and decay_all, see `Method`.

    Example:
        ``ssl-bench bench --method lejepa --data digits``
    """

    accepts_local_views = True

    def __init__(
        self,
        image_shape: tuple[int, ...],
        backbone: BackboneFactory,
        projector: ProjectorFactory,
        sigreg_weight: UnitFloat = 0.02,
        num_directions: PositiveInt = 1024,
        **kwargs: Any,
    ):
        super().__init__(image_shape, backbone, projector, **kwargs)
        self.lambda_, self.num_directions = sigreg_weight, num_directions

    def terms(self, views: Tensor, local_views: Tensor | None = None) -> dict[str, Tensor]:
        """The weighted sum of both terms of views ``(V, N, C, H, W)`` and local views ``(L, N, C, h, w)``."""
        z = self.embed_views(views, local_views)
        with torch.autocast(z.device.type, enabled=False):
            a = directions(self.num_directions, self.projection_dim, self.global_step).to(z)
            regularisation = torch.stack([sigreg(view, a) for view in z]).mean()
            predicted = prediction(z, len(views))
            loss = self.lambda_ * regularisation + (1 - self.lambda_) * predicted
        return {"sigreg": regularisation, "prediction": predicted, "loss": loss}
