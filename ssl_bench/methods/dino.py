"""DINO: the student's distribution over prototypes for a view predicts that of a momentum teacher for another view."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ssl_bench.losses.dino import dino, mean_output, teacher_distribution
from ssl_bench.methods.momentum_teacher import MomentumTeacher
from ssl_bench.methods.multi_view import spread
from ssl_bench.networks.dino_head import DINOHead
from ssl_bench.networks.interfaces import BackboneFactory
from ssl_bench.ranges import NonNegativeInt, PositiveFloat, UnitFloat, check_ranges


@check_ranges
class DINO(MomentumTeacher):
    """DINO (Caron et al. 2021, arXiv 2104.14294): self-distillation without labels.

    A centre, a moving average of the teacher's outputs, is subtracted from them, so that no prototype dominates; a low
    temperature of the teacher keeps its distributions from becoming uniform. The centre is that of the images of all
    processes, and is saved in checkpoints. Local views (``--views.num_local_views``) are given to the student only. The
    backbone of the student is scored; the paper scores that of the teacher.

    Args:
        image_shape: shape of one view; the command line takes it from the data.
        backbone: see `MultiView`.
        projector: given feature_dim, returns the head.
        temperature: tau_s, the temperature of the student.
        teacher_temperature: tau_t after the warm-up.
        warmup_teacher_temperature: tau_t in the first epoch of the warm-up.
        warmup_epochs: number of epochs over which tau_t increases linearly; 0 for no warm-up.
        center_momentum: m in Eq. 4, the weight of the old centre.
        frozen_epochs: number of epochs at the start in which the prototypes are not trained.
        **kwargs: momentum and final_momentum, see `MomentumTeacher`; joint_forward, see `MultiView`; optimizer,
            schedule and decay_all, see `Method`.

    Example:
        ``ssl-bench bench --method dino --data digits``
    """

    accepts_local_views = True
    projector: DINOHead
    center: Tensor

    def __init__(
        self,
        image_shape: tuple[int, ...],
        backbone: BackboneFactory,
        projector: Callable[[int], DINOHead],
        temperature: PositiveFloat = 0.1,
        teacher_temperature: PositiveFloat = 0.07,
        warmup_teacher_temperature: PositiveFloat = 0.04,
        warmup_epochs: NonNegativeInt = 50,
        center_momentum: UnitFloat = 0.9,
        frozen_epochs: NonNegativeInt = 1,
        **kwargs: Any,
    ):
        super().__init__(image_shape, backbone, projector, **kwargs)
        self.temperature, self.teacher_temperature = temperature, teacher_temperature
        self.warmup_teacher_temperature, self.warmup_epochs = warmup_teacher_temperature, warmup_epochs
        self.center_momentum, self.frozen_epochs = center_momentum, frozen_epochs
        self.register_buffer("center", torch.zeros(self.projection_dim))

    def tau_t(self) -> float:
        """Temperature of the teacher in the current epoch."""
        if self.current_epoch >= self.warmup_epochs:
            return self.teacher_temperature
        progress = self.current_epoch / max(1, self.warmup_epochs - 1)
        return self.warmup_teacher_temperature + progress * (self.teacher_temperature - self.warmup_teacher_temperature)

    def distil(self, embeddings: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Eq. 3, given outputs of the student ``(V, N, K)`` and of the teacher ``(G, N, K)``; updates the centre.

        Returns:
            Scalar terms by name. ``entropy`` is that of the teacher's distributions: log K if they are uniform.
            ``spread`` is that of the student's outputs, see `multi_view.spread`; a collapse makes it 0.
        """
        with torch.autocast(embeddings.device.type, enabled=False):
            p_t = teacher_distribution(targets, self.center, self.tau_t())
            loss = dino(embeddings, p_t, self.temperature)
            self.center.lerp_(mean_output(targets), 1 - self.center_momentum)
            entropy = torch.special.entr(p_t).sum(2).mean()
        return {"entropy": entropy, "spread": spread(embeddings[0]), "loss": loss}

    def on_after_backward(self) -> None:
        """Do not train the prototypes in the first epochs; without gradient, optimizers do not change or decay them."""
        if self.current_epoch < self.frozen_epochs:
            self.projector.prototypes.weight.grad = None
