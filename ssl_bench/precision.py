"""Numeric precision of a trainer and of autocast."""

import torch

_AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def autocast_dtype(precision: object) -> torch.dtype | None:
    """The dtype for ``torch.autocast`` under Lightning's `precision`; None without autocast.

    Args:
        precision: Lightning's name or number, such as ``bf16-mixed`` or ``32-true``.
    """
    return _AUTOCAST.get(str(precision))
