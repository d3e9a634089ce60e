"""MoCo: a query is contrasted with its key and with a queue of keys of earlier images, both from a momentum teacher."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_bench.data.types import TrainingInputs
from ssl_bench.distributed import gather
from ssl_bench.losses.contrastive import moco
from ssl_bench.methods.momentum_teacher import MomentumTeacher
from ssl_bench.networks.interfaces import BackboneFactory, ProjectorFactory
from ssl_bench.networks.queue import FeatureQueue
from ssl_bench.ranges import PositiveFloat, PositiveInt, check_ranges


@check_ranges
class MoCo(MomentumTeacher):
    """MoCo v2 (He et al. 2020, arXiv 1911.05722; Chen et al. 2020, arXiv 2003.04297), by default symmetric.

    Queries are projections of the student, keys are those of the teacher. The keys of a batch enter the queue after
    the backward pass, so the queue holds keys of earlier batches of all processes only. With `symmetric` each view has
    a queue of its own, as in solo-learn's "MoCo v2+". The backbone of the student is scored.

    Keys are not shuffled over processes. The paper shuffles them because BatchNorm statistics of each process let the
    network recognise the batch of a positive pair; ``--trainer.sync_batchnorm true`` avoids it too.

    Args:
        image_shape: shape of one view; the command line takes it from the data.
        backbone: see `MultiView`.
        projector: see `MultiView`.
        temperature: tau of Eq. 1, divisor of the cosine similarities.
        queue_size: K, number of keys in a queue; at least the batch of all processes.
        symmetric: if True, each view is the query once, and the loss is the mean of both. If False, the first view is
            the query and the second the key, as in the paper.
        **kwargs: momentum and final_momentum, see `MomentumTeacher` (0.999 and constant in the paper); joint_forward,
            see `MultiView`; optimizer, schedule and decay_all, see `Method`.

    Example:
        ``ssl-bench bench --method moco --data digits``
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        backbone: BackboneFactory,
        projector: ProjectorFactory,
        temperature: PositiveFloat = 0.2,
        queue_size: PositiveInt = 32768,
        symmetric: bool = True,
        **kwargs: Any,
    ):
        super().__init__(image_shape, backbone, projector, **kwargs)
        self.temperature, self.symmetric = temperature, symmetric
        self.queue = FeatureQueue(queue_size, **dict.fromkeys(self.keys_of_views(), self.projection_dim))
        self.new_keys: dict[str, Tensor] = {}

    def keys_of_views(self) -> dict[str, int]:
        """Views whose keys are enqueued, by the name of their queue."""
        return {"first": 0, "second": 1} if self.symmetric else {"second": 1}

    def terms(self, views: Tensor, local_views: Tensor | None = None) -> dict[str, Tensor]:
        """Scalar terms by name, given views ``(2, N, C, H, W)``; without `symmetric`, each network sees one view."""
        if self.symmetric:
            return super().terms(views, local_views)
        return self.distil(self.embed_views(views[:1]), self.targets(views[1:]))

    def distil(self, embeddings: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Eq. 1, given projections of the student and of the teacher, ``(V, N, d)``; V is 2 if symmetric, else 1."""
        with torch.autocast(embeddings.device.type, enabled=False):
            q, k = F.normalize(embeddings, dim=2), F.normalize(targets, dim=2)
            self.new_keys = dict(zip(self.keys_of_views(), k, strict=True))
            similarity = (q * k.flip(0)).sum(2).mean().detach()
            pairs = zip(q, reversed(self.new_keys.items()), strict=True)
            losses = [moco(query, key, self.queue[name], self.temperature) for query, (name, key) in pairs]
            loss = torch.stack(losses).mean()
        return {"similarity": similarity, "loss": loss}

    def on_after_backward(self) -> None:
        """Enqueue the keys of the batch of all processes; the loss has been back-propagated through the old ones."""
        self.queue.enqueue(**{name: gather(keys) for name, keys in self.new_keys.items()})

    def check_inputs(self, inputs: TrainingInputs) -> None:
        """Refuse batches that are larger than the queue."""
        super().check_inputs(inputs)
        self.queue.check_fits(inputs.images // inputs.views, inputs.processes, "MoCo")
