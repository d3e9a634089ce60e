"""LARS, an optimizer that configurations of methods name, by a signature that they can be checked against."""

from collections.abc import Iterable
from typing import Any

from timm.optim.lars import Lars


class LARS(Lars):
    """SGD whose step on each tensor is a fraction of its norm (You et al. 2017, arXiv 1708.03888), timm's.

    Norms and biases, where they are spared weight decay (``decay_all`` false), take plain steps, as in SimCLR.

    Args:
        params: parameters or groups of them.
        lr: learning rate, that of the whole batch: 0.3 * batch / 256 in SimCLR.
        momentum: of SGD.
        weight_decay: added to the gradient before the fraction is taken.
        trust_coeff: the fraction.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.3,
        momentum: float = 0.9,
        weight_decay: float = 1e-6,
        trust_coeff: float = 0.001,
    ):
        super().__init__(params, lr=lr, momentum=momentum, weight_decay=weight_decay, trust_coeff=trust_coeff)
