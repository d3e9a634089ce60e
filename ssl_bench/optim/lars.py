"""LARS with an explicit signature, so that configurations can be validated."""

from collections.abc import Iterable
from typing import Any

from timm.optim.lars import Lars

from ssl_bench.ranges import Decay, NonNegativeFloat, PositiveFloat, check_ranges


@check_ranges
class LARS(Lars):
    """timm's LARS: SGD with steps proportional to the norm of each tensor (You et al. 2017, arXiv 1708.03888).

    Defaults are those of solo-learn's runs: You et al. have a trust coefficient of 0.001 and no clipping. Parameters
    without weight decay take plain SGD steps, as in SimCLR. These are norms and biases if a method's `decay_all` is
    False.

    Args:
        params: parameters or parameter groups.
        lr: learning rate for the whole batch; 0.3 * batch size / 256 in SimCLR.
        momentum: momentum of SGD.
        weight_decay: L2 penalty, added to the gradient before scaling; with 0 all steps are plain SGD steps.
        trust_coeff: ratio of a step to the norm of the tensor, before the factor lr.
        trust_clip: if True, a tensor's local learning rate is at most lr.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: NonNegativeFloat = 0.3,
        momentum: Decay = 0.9,
        weight_decay: NonNegativeFloat = 1e-6,
        trust_coeff: PositiveFloat = 0.02,
        trust_clip: bool = True,
    ):
        super().__init__(
            params,
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
            trust_coeff=trust_coeff,
            trust_clip=trust_clip,
        )
