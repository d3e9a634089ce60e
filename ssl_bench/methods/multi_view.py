"""Training scheme of the methods that compare projections of several views of an image."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_bench.data.types import Batch, TrainingInputs
from ssl_bench.errors import UserError
from ssl_bench.methods.base import Method
from ssl_bench.networks.interfaces import BackboneFactory, ProjectorFactory
from ssl_bench.ranges import NonNegativeFloat, check_ranges


@check_ranges
class MultiView(Method):
    """Base of the methods with a backbone and a projector.

    The first two views of an image are a pair. Views after them, such as generated views, are additional positives. In
    scheme A2 of "Constructive Assimilation" (Han et al.) they are aligned with both views of the pair. In scheme A1 the
    pair is one view of the recipe (an expert view) and one generated view.

    A subclass defines `objective`.

    Args:
        image_shape: shape of one view; the command line takes it from the data.
        backbone: given (image_shape, 0), returns a network without classifier, from images ``(N, C, H, W)`` to features
            ``(N, feature_dim)``.
        projector: given feature_dim, returns the network ``(N, feature_dim) -> (N, d)``.
        alpha: weight of the alignment of additional positives; 0.5 in Han et al.
        joint_forward: if True, pass all views through the networks as one batch, so that BatchNorm statistics are over
            all views (Han et al.'s code for CIFAR-100 and Tiny-ImageNet). If False, pass one view at a time (their code
            for CIFAR-10).
        **kwargs: optimizer, schedule and decay_all, see `Method`.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        backbone: BackboneFactory,
        projector: ProjectorFactory,
        alpha: NonNegativeFloat = 0.5,
        joint_forward: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.backbone = backbone(tuple(image_shape), 0)
        self.feature_dim = self.backbone.feature_dim
        self.projector = projector(self.feature_dim)
        self.alpha, self.joint_forward = alpha, joint_forward

    def encode(self, x: Tensor) -> Tensor:
        """Features of the backbone, before the projector: normalised ``(N, C, H, W)`` to ``(N, feature_dim)``."""
        return self.backbone(x).float()

    def embed(self, x: Tensor) -> Tensor:
        """Projections ``(N, d)`` in float32 of images ``(N, C, H, W)``."""
        return self.projector(self.backbone(x)).float()

    def project(self, x: Tensor) -> Tensor:
        """L2-normalised projections ``(N, d)`` of images ``(N, C, H, W)``."""
        return F.normalize(self.embed(x), dim=1)

    def embed_views(self, views: Tensor) -> Tensor:
        """Projections ``(J, N, d)`` in float32 of views ``(J, N, C, H, W)``."""
        if self.joint_forward:
            return self.embed(views.flatten(0, 1)).view(*views.shape[:2], -1)
        return torch.stack([self.embed(view) for view in views])

    def objective(self, embeddings: Tensor) -> dict[str, Tensor]:
        """Scalar terms by name, given projections ``(J, N, d)``; ``loss`` is minimised."""
        raise TypeError(f"{type(self).__name__} must define objective(embeddings)")

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch."""
        terms = self.objective(self.embed_views(batch.images))
        self.log_metrics(terms)
        return terms["loss"]

    def check_inputs(self, inputs: TrainingInputs) -> None:
        """Refuse a single view per image."""
        super().check_inputs(inputs)
        if inputs.views + inputs.generated < 2:
            raise UserError(
                f"{type(self).__name__} got 1 view of each image, needs 2: give --views.num_views 2, or generated views"
            )
