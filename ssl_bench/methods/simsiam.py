"""SimSiam: each view predicts the other, without negatives; with additional positives, A2."""

from typing import Any

import torch
from torch import Tensor

from ssl_bench.losses.contrastive import simsiam, simsiam_alignment
from ssl_bench.methods.multi_view import MultiView, spread
from ssl_bench.networks.interfaces import BackboneFactory, PredictorFactory, ProjectorFactory
from ssl_bench.ranges import NonNegativeFloat, check_ranges


@check_ranges
class SimSiam(MultiView):
    """SimSiam (Chen & He 2020, arXiv 2011.10566), alone or with A2 of "Constructive Assimilation" (Eq. 8).

    Additional positives predict the first two views and are never predicted.

    Args:
        image_shape: shape of one view; the command line takes it from the data.
        backbone: see `MultiView`.
        projector: see `MultiView`.
        predictor: given (inputs, outputs), returns the network; both numbers are the length of a projection.
        alpha: weight of the alignment of additional positives; 0.5 in Han et al.
        **kwargs: joint_forward, see `MultiView`; optimizer, schedule and decay_all, see `Method`.

    Example:
        ``ssl-bench bench --method simsiam --data digits``
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        backbone: BackboneFactory,
        projector: ProjectorFactory,
        predictor: PredictorFactory,
        alpha: NonNegativeFloat = 0.5,
        **kwargs: Any,
    ):
        super().__init__(image_shape, backbone, projector, **kwargs)
        self.predictor = predictor(self.projection_dim, self.projection_dim)
        self.alpha = alpha

    def objective(self, embeddings: Tensor) -> dict[str, Tensor]:
        """Eq. 2 of SimSiam plus alpha times A2's alignment (Eq. 8) of projections ``(J, N, d)``.

        Returns:
            Scalar terms by name; ``spread`` is that of the projections, see `multi_view.spread`.
        """
        predictions = torch.stack([self.predictor(z) for z in embeddings]).float()
        with torch.autocast(embeddings.device.type, enabled=False):
            pair, additional = embeddings[:2], predictions[2:]
            contrast = simsiam(predictions[:2], pair)
            aligned = simsiam_alignment(additional, pair) if len(additional) else torch.zeros_like(contrast)
            loss = contrast + self.alpha * aligned
        return {"spread": spread(pair[0]), "contrast": contrast, "alignment": aligned, "loss": loss}
