"""SimCLR: views of an image are contrasted with negatives; with additional positives, A1 and A2."""

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_bench.losses.contrastive import alignment, info_nce, nt_xent
from ssl_bench.methods.multi_view import MultiView
from ssl_bench.networks.interfaces import BackboneFactory, ProjectorFactory
from ssl_bench.ranges import NonNegativeFloat, PositiveFloat, check_ranges

CONTRASTS = {"info_nce": info_nce, "nt_xent": nt_xent}


@check_ranges
class SimCLR(MultiView):
    """SimCLR (Chen et al. 2020, arXiv 2002.05709), alone or with generated views ("Constructive Assimilation").

    With two views it minimises `loss`. With more, A2 subtracts alpha times the alignment of the additional positives
    with the first two views, and A2-full is NT-Xent over all views. Negatives are the images of all processes.

    Args:
        image_shape: shape of one view; the command line takes it from the data.
        backbone: see `MultiView`.
        projector: see `MultiView`.
        loss: ``info_nce``, whose negatives are other images in the other view (E-SSL, CIFAR-10), or ``nt_xent``, whose
            negatives are other images in all views (SimCLR; SupContrast, CIFAR-100 and Tiny-ImageNet).
        assimilation: use of views after the second: ``a2``, or ``a2_full``, which ignores `loss` and alpha.
        alpha: weight of the alignment of additional positives; 0.5 in Han et al.
        temperature: divisor of the cosine similarities.
        base_temperature: if given, the whole loss is multiplied by temperature / base_temperature. SupContrast uses
            0.07, and its learning rates are tuned for it. If None, the loss is not scaled.
        **kwargs: joint_forward, see `MultiView`; optimizer, schedule and decay_all, see `Method`.

    Example:
        ``ssl-bench bench --method simclr --data digits``
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        backbone: BackboneFactory,
        projector: ProjectorFactory,
        loss: Literal["info_nce", "nt_xent"] = "info_nce",
        assimilation: Literal["a2", "a2_full"] = "a2",
        alpha: NonNegativeFloat = 0.5,
        temperature: PositiveFloat = 0.5,
        base_temperature: PositiveFloat | None = None,
        **kwargs: Any,
    ):
        super().__init__(image_shape, backbone, projector, **kwargs)
        self.contrast, self.assimilation = CONTRASTS[loss], assimilation
        self.alpha, self.temperature = alpha, temperature
        self.scale = temperature / (base_temperature or temperature)

    def objective(self, embeddings: Tensor) -> dict[str, Tensor]:
        """A2 of projections ``(J, N, d)``: L_contrast - alpha L_align (Eq. 5 and 3), or A2-full (Eq. 6)."""
        with torch.autocast(embeddings.device.type, enabled=False):
            z = F.normalize(embeddings, dim=2)
            pair, additional = z[:2], z[2:]
            similarity = (pair[0] * pair[1]).sum(1).mean().detach()
            if len(additional) and self.assimilation == "a2_full":
                return {"similarity": similarity, "loss": self.scale * nt_xent(z, self.temperature)}
            contrast = self.contrast(pair, self.temperature)
            aligned = alignment(pair, additional, self.temperature) if len(additional) else torch.zeros_like(contrast)
            loss = self.scale * (contrast - self.alpha * aligned)
        return {"similarity": similarity, "contrast": contrast, "alignment": aligned, "loss": loss}
