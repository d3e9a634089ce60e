"""SimSiam: each view predicts the other, without negatives; with further views, A2."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_bench.losses.contrastive import simsiam, simsiam_alignment
from ssl_bench.methods.multi_view import MultiView
from ssl_bench.networks.interfaces import BackboneFactory, PredictorFactory, ProjectorFactory


class SimSiam(MultiView):
    """SimSiam (Chen & He 2020, arXiv 2011.10566), alone or with A2 of "Constructive Assimilation" (Eq. 8).

    Further views predict the two of the pair; they are never predicted.

    Args:
        image_shape: shape of one view; the command line takes it from the data.
        backbone: see `MultiView`.
        projector: see `MultiView`.
        predictor: given the projections' length twice, inputs and outputs, returns the predictor.
        **kwargs: alpha and joint_forward, see `MultiView`; optimizer, schedule and decay_all, see `Method`.
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
        """The loss of projections ``(J, N, d)``, and the spread of its directions, which is 0 where all are one."""
        predictions = torch.stack([self.predictor(z) for z in embeddings]).float()
        with torch.autocast(embeddings.device.type, enabled=False):
            pair = embeddings[:2]
            loss = simsiam(predictions[:2], pair)
            terms = {"spread": F.normalize(pair[0].detach(), dim=1).std(0).mean() * pair.shape[2] ** 0.5}
            if len(embeddings) > 2:
                aligned = simsiam_alignment(predictions[2:], pair)
                terms |= {"contrast": loss, "alignment": aligned}
                loss = loss + self.alpha * aligned
        return terms | {"loss": loss}
