"""NNCLR: the positive of an image is the nearest neighbour of its other view among earlier images."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_bench.data.types import TrainingInputs
from ssl_bench.distributed import gather
from ssl_bench.losses.contrastive import nearest, neighbour_contrast
from ssl_bench.methods.multi_view import MultiView
from ssl_bench.networks.interfaces import BackboneFactory, PredictorFactory, ProjectorFactory
from ssl_bench.networks.queue import FeatureQueue
from ssl_bench.ranges import PositiveFloat, PositiveInt, check_ranges


@check_ranges
class NNCLR(MultiView):
    """NNCLR (Dwibedi et al. 2021, arXiv 2104.14548).

    The projections of the first view enter the queue after the backward pass, so neighbours are images of earlier
    batches of all processes. The backbone is scored.

    Args:
        image_shape: shape of one view; the command line takes it from the data.
        backbone: see `MultiView`.
        projector: see `MultiView`.
        predictor: given (inputs, outputs), returns the network; both numbers are the length of a projection.
        temperature: tau of Eq. 3, divisor of the cosine similarities.
        queue_size: number of projections among which neighbours are found; at least the batch of all processes.
        same_views: if True, the method takes one view, whose prediction is pulled to the nearest neighbour of its own
            projection ("same views" of the structural GAN paper, arXiv 2310.00357, appendix A.2).
        **kwargs: joint_forward, see `MultiView`; optimizer, schedule and decay_all, see `Method`.

    Example:
        ``ssl-bench bench --method nnclr --data digits``
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        backbone: BackboneFactory,
        projector: ProjectorFactory,
        predictor: PredictorFactory,
        temperature: PositiveFloat = 0.2,
        queue_size: PositiveInt = 65536,
        same_views: bool = False,
        **kwargs: Any,
    ):
        super().__init__(image_shape, backbone, projector, **kwargs)
        self.least_views = self.most_views = 1 if same_views else 2
        self.temperature = temperature
        self.predictor = predictor(self.projection_dim, self.projection_dim)
        self.queue = FeatureQueue(queue_size, z=self.projection_dim)
        self.new_z: Tensor | None = None

    def objective(self, embeddings: Tensor) -> dict[str, Tensor]:
        """Eq. 3 of projections ``(V, N, d)``, mean over directions; with one view, the view is its own partner.

        Returns:
            Scalar terms by name; ``similarity`` is the mean cosine of a projection and its neighbour.
        """
        predictions = torch.stack([self.predictor(z) for z in embeddings]).float()
        with torch.autocast(embeddings.device.type, enabled=False):
            z, p = F.normalize(embeddings.detach(), dim=2), F.normalize(predictions, dim=2)
            self.new_z = z[0]
            neighbours = torch.stack([nearest(view, self.queue["z"]) for view in z])
            pairs = zip(neighbours, p.flip(0), strict=True)
            loss = torch.stack([neighbour_contrast(nn, other, self.temperature) for nn, other in pairs]).mean()
            similarity = (z * neighbours).sum(2).mean()
        return {"similarity": similarity, "loss": loss}

    def on_after_backward(self) -> None:
        """Enqueue the projections of the first view of the batch of all processes."""
        if self.new_z is not None:
            self.queue.enqueue(z=gather(self.new_z))

    def check_inputs(self, inputs: TrainingInputs) -> None:
        """Refuse batches that are larger than the queue."""
        super().check_inputs(inputs)
        self.queue.check_fits(inputs.images // inputs.views, inputs.processes, "NNCLR")
