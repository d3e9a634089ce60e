"""The precision of training that suits a machine, and the dtype of autocast of a precision.

The names are needed without torch, which takes long to import.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

AUTO = "auto"
"""Setting of the precision that is replaced by one of `CHOSEN`, for the machine."""
CHOSEN = ("bf16-mixed", "32-true")
_AUTOCAST = {"bf16-mixed": "bfloat16", "16-mixed": "float16"}


def autocast_dtype(precision: object) -> "torch.dtype | None":
    """The dtype for ``torch.autocast`` at Lightning's `precision`; None if the precision does not use autocast.

    Args:
        precision: Lightning's name or number of the precision, such as ``bf16-mixed`` or ``32-true``.
    """
    import torch

    name = _AUTOCAST.get(str(precision))
    return getattr(torch, name) if name else None


def automatic(accelerator: str) -> str:
    """``bf16-mixed`` if the device multiplies bfloat16 matrices in hardware, else ``32-true``.

    These are NVIDIA GPUs from compute capability 8.0, recent AMD GPUs, and CPUs with AMX. Other CPUs and GPUs emulate
    bfloat16, or convert to it and back, which is slower than float32 for many networks.

    Args:
        accelerator: Lightning's name of the accelerator, such as ``auto`` or ``cpu``.
    """
    import torch

    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:  # torch 2.11 has no `get_capabilities`
        capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
        native = accelerator in ("auto", "cpu") and bool(capabilities.get("amx_bf16"))
    return CHOSEN[0] if native else CHOSEN[1]
