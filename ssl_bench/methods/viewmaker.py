"""SimCLR whose views are made, or some of them, by a network that is trained to make the task hard."""

from typing import Any

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from ssl_bench.data.types import Batch, InvertibleViews, TrainingInputs
from ssl_bench.errors import UserError
from ssl_bench.methods.base import OptimizerFactory
from ssl_bench.methods.descent import descend, scheduled, step_schedules
from ssl_bench.methods.simclr import SimCLR
from ssl_bench.networks.interfaces import BackboneFactory, ProjectorFactory, ViewmakerFactory


class ViewMaker(SimCLR):
    """Viewmaker networks (Tamkin et al. 2021, arXiv 2010.07432), alone or assimilated as other generated views are.

    The last `num_learned_views` views of an image are perturbed by the viewmaker. On each batch the encoder takes a
    step down SimCLR's loss, then the viewmaker one up the same loss, on perturbations drawn anew. So the viewmaker
    lowers the alignment of A2's further views as it lowers that of the pair. In the code released with "Constructive
    Assimilation" it raises it, alpha is ignored and the pair stands where the first and the third view should; that
    code's InfoNCE is of one direction and keeps an embedding's similarity with itself in the denominator. SimCLR's
    here is as without a viewmaker.

    Args:
        image_shape: shape of one view; the command line takes it from the data.
        backbone: see `MultiView`.
        projector: see `MultiView`.
        viewmaker: given image_shape, returns the network from images in [0, 1] to views of the same shape.
        num_learned_views: how many views are the viewmaker's, the last ones: 1 of 2 is A1, 2 of 2 the published
            method, 1 of 3 A2.
        viewmaker_optimizer: as `optimizer`, which is then the encoder's; none is Adam with learning rate 1e-3.
        **kwargs: loss, assimilation, temperature and base_temperature, see `SimCLR`; alpha and joint_forward, see
            `MultiView`; optimizer, schedule and decay_all, see `Method`; the last two hold for both networks.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        backbone: BackboneFactory,
        projector: ProjectorFactory,
        viewmaker: ViewmakerFactory,
        num_learned_views: int = 2,
        viewmaker_optimizer: OptimizerFactory | None = None,
        **kwargs: Any,
    ):
        super().__init__(image_shape, backbone, projector, **kwargs)
        if num_learned_views < 1:
            raise UserError(f"ViewMaker: num_learned_views {num_learned_views}: give 1 or more views of each image")
        self.automatic_optimization = False
        self.viewmaker = viewmaker(tuple(image_shape))
        self.num_learned_views = num_learned_views
        self.make_viewmaker_optimizer = viewmaker_optimizer or (
            lambda parameters: torch.optim.Adam(parameters, lr=1e-3)
        )

    def perturb(self, views: Tensor) -> Tensor:
        """Views ``(J, N, C, H, W)``, normalised, the last `num_learned_views` of them as the viewmaker makes them."""
        inputs = views[-self.num_learned_views :]
        images = inputs.flatten(0, 1)
        if isinstance(self.views, InvertibleViews):
            images = self.views.from_image(self.viewmaker(self.views.to_image(images)))
        else:
            images = self.viewmaker(images)
        return torch.cat([views[: -self.num_learned_views], images.view_as(inputs)])

    def encoder_loss(self, views: Tensor) -> dict[str, Tensor]:
        """SimCLR's terms of views ``(J, N, C, H, W)`` once perturbed; ``loss`` is what the encoder minimises."""
        with torch.no_grad():
            views = self.perturb(views)
        return self.objective(self.embed_views(views))

    def viewmaker_loss(self, views: Tensor) -> dict[str, Tensor]:
        """What the viewmaker minimises, ``viewmaker_loss``: the encoder's loss of its views, negated."""
        return {"viewmaker_loss": -self.objective(self.embed_views(self.perturb(views)))["loss"]}

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:  # type: ignore[override]
        """The encoder's step on a batch, then the viewmaker's."""
        step, views = self.global_step, [batch.images]
        terms = descend(self, 0, self.encoder_loss, "loss", views)
        terms |= descend(self, 1, self.viewmaker_loss, "viewmaker_loss", views)
        step_schedules(self)
        self.log_metrics(terms, step)
        return terms

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The encoder's optimizer and the viewmaker's, each scheduled per batch."""
        encoder = self.parameter_groups(nn.ModuleList([self.backbone, self.projector]))
        optimizers = [
            self.make_optimizer(encoder),
            self.make_viewmaker_optimizer(self.parameter_groups(self.viewmaker)),
        ]
        return scheduled(self, optimizers)

    def check_inputs(self, inputs: TrainingInputs) -> None:
        """Refuse fewer views than the viewmaker is to make."""
        super().check_inputs(inputs)
        if not inputs.generated and inputs.views < self.num_learned_views:
            raise UserError(
                f"ViewMaker: {self.num_learned_views} views to be made of {inputs.views}: give a --views.num_views "
                f"of {self.num_learned_views} or more, or a smaller --method.num_learned_views"
            )
