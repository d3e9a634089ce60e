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
    lowers SimCLR's loss. Then the viewmaker makes a step that raises the same loss, on new random perturbations. So the
    viewmaker lowers the alignment of A2's additional positives, as it lowers that of the pair.

    The code released with "Constructive Assimilation" differs: its viewmaker raises that alignment, alpha is ignored,
    and the pair is used in place of the first and the third view. Its InfoNCE has one direction and keeps the
    similarity of an embedding with itself in the denominator. Here SimCLR's loss is the same as without a viewmaker.

    Args:
        image_shape: shape of one view; the command line takes it from the data.
        backbone: see `MultiView`.
        projector: see `MultiView`.
        viewmaker: given image_shape, returns the network from images in [0, 1] to views of the same shape.
        num_learned_views: number of views that the viewmaker makes, the last ones: 1 of 2 is A1, 2 of 2 the published
            method, 1 of 3 A2.
        viewmaker_optimizer: optimizer of the viewmaker, by default Adam with learning rate 1e-3; `optimizer` is the
            encoder's.
        **kwargs: loss, assimilation, temperature and base_temperature, see `SimCLR`; alpha and joint_forward, see
            `MultiView`; optimizer, schedule and decay_all, see `Method`; schedule and decay_all hold for both networks.

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
        """Normalised views ``(J, N, C, H, W)``, of which the viewmaker perturbs the last `num_learned_views`."""
        inputs = views[-self.num_learned_views :]
        images = inputs.flatten(0, 1)
        if isinstance(self.views, InvertibleViews):
            images = self.views.from_image(self.viewmaker(self.views.to_image(images)))
        else:
            images = self.viewmaker(images)
        return torch.cat([views[: -self.num_learned_views], images.view_as(inputs)])

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:  # type: ignore[override]
        """The encoder's step on a batch, then the viewmaker's."""
        self.step = self.global_step
        terms, _ = self.step_optimizer("encoder", [batch.images])
        viewmaker_terms, _ = self.step_optimizer("viewmaker", [batch.images])
        terms |= viewmaker_terms
        self.step_schedules()
        self.log_metrics(terms, self.step)
        return terms

    def check_inputs(self, inputs: TrainingInputs) -> None:
        """Refuse fewer views than the viewmaker is to make."""
        super().check_inputs(inputs)
        if not inputs.generated and inputs.views < self.num_learned_views:
            raise UserError(
                f"ViewMaker: {self.num_learned_views} views to be made of {inputs.views}: give a --views.num_views "
                f"of {self.num_learned_views} or more, or a smaller --method.num_learned_views"
            )
