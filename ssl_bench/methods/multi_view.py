"""Training scheme of the methods that compare projections of several views of an image."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_bench.data.types import Batch, MultiCropBatch, TrainingInputs
from ssl_bench.errors import UserError
from ssl_bench.methods.base import Method
from ssl_bench.networks.interfaces import BackboneFactory, ProjectorFactory


class MultiView(Method):
    """Base of the methods with a backbone and a projector.

    The first two views of an image are a pair. Views after them, such as generated views, are additional positives, if
    the method accepts any. In scheme A2 of "Constructive Assimilation" (Han et al.) they are aligned with both views of
    the pair. In scheme A1 the pair is one view of the recipe (an expert view) and one generated view.

    A subclass defines `objective`.

    Attributes:
        least_views: smallest number of views of an image that the method accepts.
        most_views: largest number of views; None for any number.
        projection_dim: length d of a projection.

    Args:
        image_shape: shape of one view; the command line takes it from the data.
        backbone: given (image_shape, 0), returns a network without classifier, from images ``(N, C, H, W)`` to features
            ``(N, feature_dim)``.
        projector: given feature_dim, returns the network ``(N, feature_dim) -> (N, d)``.
        joint_forward: if True, pass all views through the networks as one batch, so that BatchNorm statistics are over
            all views (Han et al.'s code for CIFAR-100 and Tiny-ImageNet). If False, pass one view at a time (their code
            for CIFAR-10).
        **kwargs: optimizer, schedule and decay_all, see `Method`.
    """

    family = "joint-embedding"
    least_views: int = 2
    most_views: int | None = None

    def __init__(
        self,
        image_shape: tuple[int, ...],
        backbone: BackboneFactory,
        projector: ProjectorFactory,
        joint_forward: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.backbone = backbone(tuple(image_shape), 0)
        self.feature_dim = self.backbone.feature_dim
        self.projector = projector(self.feature_dim)
        with torch.no_grad():
            self.projection_dim = self.projector.eval()(torch.zeros(1, self.feature_dim)).shape[1]
        self.projector.train()
        self.joint_forward = joint_forward

    def encode(self, x: Tensor) -> Tensor:
        """Features of the backbone, before the projector: normalised ``(N, C, H, W)`` to ``(N, feature_dim)``."""
        return self.backbone(x).float()

    def embed(self, x: Tensor) -> Tensor:
        """Projections ``(N, d)`` in float32 of images ``(N, C, H, W)``."""
        return self.projector(self.backbone(x)).float()

    def project(self, x: Tensor) -> Tensor:
        """L2-normalised projections ``(N, d)`` of images ``(N, C, H, W)``."""
        return F.normalize(self.embed(x), dim=1)

    def embed_views(self, views: Tensor, local_views: Tensor | None = None) -> Tensor:
        """Projections in float32 of views ``(J, N, C, H, W)``, then of local views ``(L, N, C, h, w)``, if given.

        Returns:
            ``(J + L, N, d)``.
        """
        embeddings = self.map_views(self.embed, views)
        return embeddings if local_views is None else torch.cat([embeddings, self.map_views(self.embed, local_views)])

    def map_views(self, network: Callable[[Tensor], Tensor], views: Tensor) -> Tensor:
        """Outputs ``(J, N, d)`` of a network for views ``(J, N, C, H, W)``, in one batch with `joint_forward`."""
        if self.joint_forward:
            return network(views.flatten(0, 1)).view(*views.shape[:2], -1)
        return torch.stack([network(view) for view in views])

    def objective(self, embeddings: Tensor) -> dict[str, Tensor]:
        """Scalar terms by name, given projections ``(J, N, d)``; ``loss`` is minimised."""
        raise TypeError(f"{type(self).__name__} must define objective(embeddings)")

    def terms(self, views: Tensor, local_views: Tensor | None = None) -> dict[str, Tensor]:
        """Scalar terms by name; ``loss`` is minimised.

        Args:
            views: ``(J, N, C, H, W)``.
            local_views: ``(L, N, C, h, w)``; None unless the method accepts local views.
        """
        return self.objective(self.embed_views(views, local_views))

    def training_step(self, batch: Batch | MultiCropBatch, batch_idx: int) -> Tensor:
        """The loss of a batch."""
        terms = self.terms(batch.images, batch.local_views if isinstance(batch, MultiCropBatch) else None)
        self.log_metrics(terms)
        return terms["loss"]

    def check_inputs(self, inputs: TrainingInputs) -> None:
        """Refuse fewer or more views of an image than the method accepts, and batches of one image."""
        super().check_inputs(inputs)
        name, least, most = type(self).__name__, self.least_views, self.most_views
        views = inputs.views + inputs.generated
        if views < least:
            raise UserError(
                f"{name} got {views} view{'s' * (views > 1)} of each image, needs {least}: give --views.num_views "
                f"{least}, or generated views"
            )
        if most is not None and views > most:
            advice = f"--views.num_views {most - inputs.generated}" if most > inputs.generated else "no generated views"
            raise UserError(f"{name} got {views} views of each image, accepts {most}: give {advice}")
        if (images := min(inputs.images, inputs.last_images) // max(1, inputs.views)) < 2:
            raise UserError(
                f"{name}: a batch of {images} image in a process, needs 2, which are compared with each other: give a "
                "larger --data.batch_size, or --data.drop_last true"
            )


def spread(z: Tensor) -> Tensor:
    """Standard deviation of L2-normalised embeddings ``(N, d)`` times sqrt d, without gradient; a scalar.

    It is 0 where all embeddings have collapsed to one direction, and 1 where directions are uniform.
    """
    return F.normalize(z.detach(), dim=1).std(0).mean() * math.sqrt(z.shape[1])
