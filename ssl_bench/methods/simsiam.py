"""SimSiam: each view predicts the other, without negatives; with additional positives, A2."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_bench.losses.contrastive import simsiam, simsiam_alignment
from ssl_bench.methods.multi_view import MultiView
from ssl_bench.networks.interfaces import BackboneFactory, PredictorFactory, ProjectorFactory


class SimSiam(MultiView):
    """SimSiam (Chen & He 2020, arXiv 2011.10566), alone or with A2 of "Constructive Assimilation" (Eq. 8).

    Additional positives predict the first two views and are never predicted.

    Args:
        image_shape: shape of one view; the command line takes it from the data.
        backbone: see `MultiView`.
        projector: see `MultiView`.
        predictor: given (inputs, outputs), returns the network; both numbers are the length of a projection.
        **kwargs: alpha and joint_forward, see `MultiView`; optimizer, schedule and decay_all, see `Method`.

    Example:
        ``ssl-bench bench --method simsiam --data digits``
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
        linear = [layer for layer in self.projector.modules() if isinstance(layer, nn.Linear)]
        self.predictor = predictor(linear[-1].out_features, linear[-1].out_features)

    def objective(self, embeddings: Tensor) -> dict[str, Tensor]:
        """Eq. 2 of SimSiam plus alpha times A2's alignment (Eq. 8) of projections ``(J, N, d)``.

        Returns:
            Scalar terms by name. ``spread`` is the standard deviation of normalised projections times sqrt d: 0 where
            all projections have collapsed to one direction, 1 where directions are uniform.
        """
        predictions = torch.stack([self.predictor(z) for z in embeddings]).float()
        with torch.autocast(embeddings.device.type, enabled=False):
            pair, additional = embeddings[:2], predictions[2:]
            contrast = simsiam(predictions[:2], pair)
            aligned = simsiam_alignment(additional, pair) if len(additional) else torch.zeros_like(contrast)
            loss = contrast + self.alpha * aligned
            spread = F.normalize(pair[0].detach(), dim=1).std(0).mean() * pair.shape[2] ** 0.5
        return {"spread": spread, "contrast": contrast, "alignment": aligned, "loss": loss}
