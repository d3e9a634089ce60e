"""SimCLR with views made by a network that is trained to make SimCLR's task hard."""

from typing import Any

import torch
from torch import Tensor, nn

from ssl_bench.data.types import Batch, InvertibleViews, TrainingInputs
from ssl_bench.errors import UserError
from ssl_bench.methods.alternating import AlternatingMethod, Loss, TrainedNetwork
from ssl_bench.methods.base import OptimizerFactory
from ssl_bench.methods.simclr import SimCLR
from ssl_bench.networks.interfaces import BackboneFactory, ProjectorFactory, ViewmakerFactory
from ssl_bench.ranges import PositiveInt, check_ranges


@check_ranges
class ViewMaker(AlternatingMethod, SimCLR):
    """Viewmaker networks (Tamkin et al. 2021, arXiv 2010.07432), alone or combined with views of a recipe.

    The viewmaker perturbs the last `num_learned_views` views of an image. On each batch the encoder makes a step that
    lowers SimCLR's loss. Then the viewmaker makes a step that raises the same loss, on new random perturbations. The
    loss includes the alignment of additional positives (A2, see `SimCLR`), so the viewmaker also reduces their
    similarity with the pair.

    In the code released with "Constructive Assimilation" the viewmaker increases that alignment, alpha has no effect,
    and the alignment is computed between views 1 and 2 instead of 1 and 3. Its InfoNCE uses only the first view as
    anchor, and its denominator includes the similarity of each embedding with itself. This class uses the loss of
    `SimCLR` unchanged.

    Args:
        image_shape: shape of one view; the command line takes it from the data.
        backbone: see `MultiView`.
        projector: see `MultiView`.
        viewmaker: given image_shape, returns the network from images in [0, 1] to views of the same shape.
        num_learned_views: number of views, counted from the last, that the viewmaker perturbs. With 2 views, 2 is the
            method of Tamkin et al. and 1 is A1; with 3 views, 1 is A2.
        viewmaker_optimizer: optimizer of the viewmaker; by default Adam with learning rate 1e-3. The encoder is trained
            with `optimizer`.
        **kwargs: other arguments of `SimCLR`, `MultiView` and `Method`; schedule and decay_all apply to both networks.

    Example:
        ``ssl-bench bench --method viewmaker --data digits``
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        backbone: BackboneFactory,
        projector: ProjectorFactory,
        viewmaker: ViewmakerFactory,
        num_learned_views: PositiveInt = 2,
        viewmaker_optimizer: OptimizerFactory | None = None,
        **kwargs: Any,
    ):
        super().__init__(image_shape, backbone, projector, **kwargs)
        self.viewmaker = viewmaker(tuple(image_shape))
        self.num_learned_views = num_learned_views
        self.make_viewmaker_optimizer = viewmaker_optimizer or (
            lambda parameters: torch.optim.Adam(parameters, lr=1e-3)
        )

    def trained_networks(self) -> dict[str, TrainedNetwork]:
        """The encoder, which is the backbone with its projector, and the viewmaker."""
        encoder = nn.ModuleList([self.backbone, self.projector])
        return {
            "encoder": TrainedNetwork(encoder, self.make_optimizer, self.encoder_loss),
            "viewmaker": TrainedNetwork(self.viewmaker, self.make_viewmaker_optimizer, self.viewmaker_loss),
        }

    def encoder_loss(self, views: Tensor) -> Loss:
        """SimCLR's loss of perturbed views, given views ``(J, N, C, H, W)``."""
        with torch.no_grad():
            views = self.perturb(views)
        terms = self.objective(self.embed_views(views))
        return Loss(terms.pop("loss"), terms)

    def viewmaker_loss(self, views: Tensor) -> Loss:
        """Minus SimCLR's loss of perturbed views, given views ``(J, N, C, H, W)``."""
        return Loss(-self.objective(self.embed_views(self.perturb(views)))["loss"])

    def perturb(self, views: Tensor) -> Tensor:
        """Perturb the last `num_learned_views` of normalised views ``(J, N, C, H, W)`` by the viewmaker."""
        inputs = views[-self.num_learned_views :]
        images = inputs.flatten(0, 1)
        if isinstance(self.views, InvertibleViews):
            images = self.views.from_image(self.viewmaker(self.views.to_image(images)))
        else:
            images = self.viewmaker(images)
        return torch.cat([views[: -self.num_learned_views], images.view_as(inputs)])

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:  # type: ignore[override]
        """Make a step of the encoder on a batch, then a step of the viewmaker."""
        self.step = self.global_step
        terms, _ = self.step_optimizer("encoder", [batch.images])
        viewmaker_terms, _ = self.step_optimizer("viewmaker", [batch.images])
        terms |= viewmaker_terms
        self.step_schedules()
        self.log_metrics(terms)
        return terms

    def check_inputs(self, inputs: TrainingInputs) -> None:
        """Refuse fewer views than the viewmaker perturbs."""
        super().check_inputs(inputs)
        if not inputs.generated and inputs.views < self.num_learned_views:
            raise UserError(
                f"ViewMaker: num_learned_views is {self.num_learned_views}, got {inputs.views} views: give a "
                f"--views.num_views of {self.num_learned_views} or more, or a smaller --method.num_learned_views"
            )
