"""Size of the network that is scored."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from ssl_bench.methods.base import Method


class _UsedParameters(TorchFunctionMode):
    """Collect the parameters that are given to functions of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[int, int] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        used = (value for value in tree_leaves((args, kwargs)) if isinstance(value, nn.Parameter))
        self.sizes |= {id(parameter): parameter.numel() for parameter in used}
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def encoder_parameters(method: Method, x: Tensor) -> int:
    """Number of parameters of a method that `Method.encode` uses, such as those of a backbone without its projector.

    Args:
        method: the method, in evaluation mode.
        x: input of `Method.encode`.
    """
    with _UsedParameters() as used:
        method.encode(x)
    return sum(used.sizes.values())
