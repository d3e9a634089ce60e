"""SimCLR: views of an image are told from those of other images; with further views, A1 and A2."""

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_bench.errors import UserError
from ssl_bench.losses.contrastive import alignment, info_nce, nt_xent
from ssl_bench.methods.multi_view import MultiView
from ssl_bench.networks.interfaces import BackboneFactory, ProjectorFactory

LOSSES = {"info_nce": info_nce, "nt_xent": nt_xent}


class SimCLR(MultiView):
    """SimCLR (Chen et al. 2020, arXiv 2002.05709), alone or with generated views ("Constructive Assimilation").

    Of two views it minimises `loss`. Of more, A2 subtracts alpha times the alignment of the further views with the
    first two, and A2-full treats all views alike. Negatives are those of all processes.

    Args:
        image_shape: shape of one view; the command line takes it from the data.
        backbone: see `MultiView`.
        projector: see `MultiView`.
        loss: ``info_nce``, whose negatives are the other view's only (E-SSL, CIFAR-10), or ``nt_xent``, over all views
            but itself (SimCLR; SupContrast, CIFAR-100 and Tiny-ImageNet).
        assimilation: of views after the second: ``a2``, or ``a2_full``, which is NT-Xent over all views whatever
            `loss` is and has no alpha.
        temperature: that cosines are divided by.
        base_temperature: SupContrast multiplies the whole loss by temperature / base_temperature (0.07), which its
            learning rates are made for; none leaves the loss as it is.
        **kwargs: alpha and joint_forward, see `MultiView`; optimizer, schedule and decay_all, see `Method`.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        backbone: BackboneFactory,
        projector: ProjectorFactory,
        loss: Literal["info_nce", "nt_xent"] = "info_nce",
        assimilation: Literal["a2", "a2_full"] = "a2",
        temperature: float = 0.5,
        base_temperature: float | None = None,
        **kwargs: Any,
    ):
        super().__init__(image_shape, backbone, projector, **kwargs)
        if temperature <= 0 or (base_temperature or 1) <= 0:
            raise UserError(
                f"{type(self).__name__}: temperature {temperature}, base_temperature {base_temperature}: give numbers "
                "above 0"
            )
        self.loss, self.assimilation = LOSSES[loss], assimilation
        self.temperature, self.scale = temperature, temperature / (base_temperature or temperature)

    def objective(self, embeddings: Tensor) -> dict[str, Tensor]:
        """The loss of projections ``(J, N, d)``, and what it is made of."""
        with torch.autocast(embeddings.device.type, enabled=False):
            z = F.normalize(embeddings, dim=2)
            pair, further = z[:2], z[2:]
            terms = {"similarity": (pair[0] * pair[1]).sum(1).mean().detach()}
            if len(further) and self.assimilation == "a2_full":
                loss = nt_xent(z, self.temperature)
            else:
                loss = self.loss(pair, self.temperature)
                if len(further):
                    aligned = alignment(pair, further, self.temperature)
                    terms |= {"contrast": loss, "alignment": aligned}
                    loss = loss - self.alpha * aligned
        return terms | {"loss": self.scale * loss}
