"""SwAV: each view predicts the assignment of the other view to prototypes."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_bench.data.types import Batch, MultiCropBatch, TrainingInputs
from ssl_bench.distributed import gather
from ssl_bench.losses.swav import codes, swapped_prediction
from ssl_bench.methods.multi_view import MultiView
from ssl_bench.networks.interfaces import BackboneFactory, ProjectorFactory
from ssl_bench.networks.queue import FeatureQueue
from ssl_bench.ranges import NonNegativeInt, PositiveFloat, PositiveInt, check_ranges


@check_ranges
class SwAV(MultiView):
    """SwAV (Caron et al. 2020, arXiv 2006.09882): clusters of all images, found online.

    The first two views of an image are assigned to the prototypes by Sinkhorn-Knopp over the images of all processes,
    so that all prototypes are used equally. Each view predicts the codes of the first two views, except its own. So do
    local views (``--views.num_local_views``), which have no codes.

    Args:
        image_shape: shape of one view; the command line takes it from the data.
        backbone: see `MultiView`.
        projector: see `MultiView`.
        num_prototypes: K, the number of prototypes.
        temperature: tau in Eq. 2.
        epsilon: weight of the entropy in Eq. 3.
        iterations: number of iterations of Sinkhorn-Knopp.
        frozen_epochs: number of epochs at the start in which the prototypes are not trained.
        queue_size: number of images of earlier batches that are assigned together with a batch, so that small batches
            can use many prototypes; 0 for no queue.
        queue_epoch: epoch, from 0, from which the queue is used. It is filled from the first step; before it is full
            it contains random directions.
        **kwargs: joint_forward, see `MultiView`; optimizer, schedule and decay_all, see `Method`.

    Example:
        ``ssl-bench bench --method swav --data digits``
    """

    accepts_local_views = True

    def __init__(
        self,
        image_shape: tuple[int, ...],
        backbone: BackboneFactory,
        projector: ProjectorFactory,
        num_prototypes: PositiveInt = 3000,
        temperature: PositiveFloat = 0.1,
        epsilon: PositiveFloat = 0.05,
        iterations: PositiveInt = 3,
        frozen_epochs: NonNegativeInt = 1,
        queue_size: NonNegativeInt = 0,
        queue_epoch: NonNegativeInt = 15,
        **kwargs: Any,
    ):
        super().__init__(image_shape, backbone, projector, **kwargs)
        dim = self.projection_dim
        self.prototypes = nn.Linear(dim, num_prototypes, bias=False)
        self.temperature, self.epsilon, self.iterations = temperature, epsilon, iterations
        self.frozen_epochs, self.queue_epoch = frozen_epochs, queue_epoch
        self.queue = FeatureQueue(queue_size, first=dim, second=dim) if queue_size else None

    def objective(self, embeddings: Tensor) -> dict[str, Tensor]:
        """The swapped prediction of projections ``(V, N, d)`` (Eq. 1 and 2), with codes of the first two views."""
        with torch.autocast(embeddings.device.type, enabled=False):
            c = self.prototypes.weight
            scores = F.normalize(embeddings, dim=2) @ c.T
            queue = self.queue if self.current_epoch >= self.queue_epoch else None
            queued = (None, None) if queue is None else (queue["first"] @ c.detach().T, queue["second"] @ c.detach().T)
            q = torch.stack([codes(scores[s], queued[s], self.epsilon, self.iterations) for s in range(2)])
            return {"loss": swapped_prediction(scores, q, self.temperature)}

    def training_step(self, batch: Batch | MultiCropBatch, batch_idx: int) -> Tensor:
        """The loss of a batch; then the projections of all processes enter the queue."""
        with torch.no_grad():
            self.prototypes.weight.copy_(F.normalize(self.prototypes.weight, dim=1))
        local_views = batch.local_views if isinstance(batch, MultiCropBatch) else None
        embeddings = self.embed_views(batch.images, local_views)
        terms = self.objective(embeddings)
        if self.queue is not None:
            first, second = F.normalize(embeddings[:2].detach(), dim=2)
            self.queue.enqueue(first=gather(first), second=gather(second))
        self.log_metrics(terms)
        return terms["loss"]

    def on_after_backward(self) -> None:
        """Do not train the prototypes in the first epochs; without gradient, optimizers do not change or decay them."""
        if self.current_epoch < self.frozen_epochs:
            self.prototypes.weight.grad = None

    def check_inputs(self, inputs: TrainingInputs) -> None:
        """Refuse batches that are larger than the queue."""
        super().check_inputs(inputs)
        if self.queue is not None:
            self.queue.check_fits(inputs.images // inputs.views, inputs.processes, "SwAV")
