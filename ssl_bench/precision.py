"""Conversion of the trainer's precision to a dtype for autocast."""

import torch

_AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def autocast_dtype(precision: object) -> torch.dtype | None:
    """The dtype for ``torch.autocast`` at Lightning's `precision`; None if the precision does not use autocast.

    Args:
        precision: Lightning's name or number of the precision, such as ``bf16-mixed`` or ``32-true``.
    """
    return _AUTOCAST.get(str(precision))
