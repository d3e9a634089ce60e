"""Training scheme of the methods whose targets come from a moving average of the trained network."""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from ssl_bench.methods.multi_view import MultiView
from ssl_bench.networks.ema import average_parameters
from ssl_bench.networks.interfaces import BackboneFactory, ProjectorFactory
from ssl_bench.ranges import UnitFloat, check_ranges


@check_ranges
class MomentumTeacher(MultiView):
    """Base of the methods with a teacher, a copy of backbone and projector that follows them.

    After every step of the optimizer, the teacher's parameters become ``tau * teacher + (1 - tau) * student``. tau
    increases from `momentum` to `final_momentum` by a half cosine over the run (BYOL, Grill et al. 2020, arXiv
    2006.07733, section 3.3). The teacher has no gradients. It stays in training mode: BatchNorm normalises by the
    statistics of its own batches, and its running statistics are those of its own inputs. All ranks have the same
    teacher, because they have the same student; it is saved in checkpoints.

    A subclass defines `distil`.

    Args:
        image_shape: shape of one view; the command line takes it from the data.
        backbone: see `MultiView`.
        projector: see `MultiView`.
        momentum: tau at the first step.
        final_momentum: tau after the last step.
        **kwargs: joint_forward, see `MultiView`; optimizer, schedule and decay_all, see `Method`.
    """

    most_views = 2

    def __init__(
        self,
        image_shape: tuple[int, ...],
        backbone: BackboneFactory,
        projector: ProjectorFactory,
        momentum: UnitFloat = 0.99,
        final_momentum: UnitFloat = 1.0,
        **kwargs: Any,
    ):
        super().__init__(image_shape, backbone, projector, **kwargs)
        self.teacher = copy.deepcopy(nn.Sequential(self.backbone, self.projector)).requires_grad_(False)
        self.momentum, self.final_momentum = momentum, final_momentum

    def distil(self, embeddings: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Scalar terms by name, given projections of the student and of the teacher; ``loss`` is minimised.

        Args:
            embeddings: ``(J, N, d)`` in float32; ``(J + L, N, d)`` with L local views.
            targets: ``(J, N, d)`` in float32, without gradient.
        """
        raise TypeError(f"{type(self).__name__} must define distil(embeddings, targets)")

    def terms(self, views: Tensor, local_views: Tensor | None = None) -> dict[str, Tensor]:
        """Scalar terms by name, see `MultiView.terms`; the teacher does not see local views."""
        return self.distil(self.embed_views(views, local_views), self.targets(views))

    @torch.no_grad()
    def targets(self, views: Tensor) -> Tensor:
        """The teacher's projections ``(J, N, d)`` in float32 of views ``(J, N, C, H, W)``."""
        return self.map_views(lambda x: self.teacher(x).float(), views)

    def progress(self) -> float:
        """Fraction of the run's optimizer steps that are done; 0 without a trainer."""
        return 0.0 if self._trainer is None else min(1.0, self.global_step / self.run_length()["steps"])

    def tau(self) -> float:
        """Weight of the teacher's old parameters in the update after the current step."""
        remaining = (1 + math.cos(math.pi * self.progress())) / 2
        return self.final_momentum - (self.final_momentum - self.momentum) * remaining

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Make a step of the optimizer, then update the teacher."""
        tau = self.tau()
        super().optimizer_step(*args, **kwargs)
        self.update_teacher(tau)

    def update_teacher(self, tau: float) -> None:
        """Move the teacher's parameters towards the student's; tau is the weight of the old ones."""
        student = [*self.backbone.parameters(), *self.projector.parameters()]
        average_parameters(self.teacher.parameters(), student, tau)
