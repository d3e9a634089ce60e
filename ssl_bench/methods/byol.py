"""BYOL: the prediction from one view regresses the momentum teacher's projection of the other, without negatives."""

from typing import Any

import torch
from torch import Tensor

from ssl_bench.losses.contrastive import byol
from ssl_bench.methods.momentum_teacher import MomentumTeacher
from ssl_bench.methods.multi_view import spread
from ssl_bench.networks.interfaces import BackboneFactory, PredictorFactory, ProjectorFactory


class BYOL(MomentumTeacher):
    """BYOL (Grill et al. 2020, arXiv 2006.07733).

    The backbone of the student is scored, as in the paper, not that of the teacher.

    Args:
        image_shape: shape of one view; the command line takes it from the data.
        backbone: see `MultiView`.
        projector: see `MultiView`.
        predictor: given (inputs, outputs), returns the network; both numbers are the length of a projection.
        **kwargs: momentum and final_momentum, see `MomentumTeacher`; joint_forward, see `MultiView`; optimizer,
            schedule and decay_all, see `Method`.

    Example:
        ``ssl-bench bench --method byol --data digits``
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        backbone: BackboneFactory,
        projector: ProjectorFactory,
        predictor: PredictorFactory,
        **kwargs: Any,
    ):
        super().__init__(image_shape, backbone, projector, **kwargs)
        self.predictor = predictor(self.projection_dim, self.projection_dim)

    def distil(self, embeddings: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Eq. 2 in both directions, given projections ``(2, N, d)`` of the student and of the teacher.

        Returns:
            Scalar terms by name; ``spread`` is that of the student's projections, see `multi_view.spread`.
        """
        predictions = torch.stack([self.predictor(z) for z in embeddings]).float()
        with torch.autocast(embeddings.device.type, enabled=False):
            loss = byol(predictions, targets)
        return {"spread": spread(embeddings[0]), "loss": loss}
