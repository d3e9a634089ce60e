"""The weights that an encoder uses, and their number."""

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from ssl_bench.methods.base import Method


class _Used(TorchFunctionMode):
    """Collect which of some tensors are given to functions of torch."""

    def __init__(self, names: dict[int, str]) -> None:
        super().__init__()
        self.names = names
        self.found: set[str] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        leaves = tree_leaves((args, kwargs))
        self.found |= {self.names[id(leaf)] for leaf in leaves if isinstance(leaf, Tensor) and id(leaf) in self.names}
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def used_weights(method: Method, x: Tensor) -> dict[str, Tensor]:
    """Parameters and buffers that `Method.encode` uses, by name, such as those of a backbone without its projector.

    Args:
        method: the method, in evaluation mode.
        x: input of `Method.encode`.
    """
    stored = method.state_dict().keys()
    weights = {name: one for name, one in [*method.named_parameters(), *method.named_buffers()] if name in stored}
    with _Used({id(tensor): name for name, tensor in weights.items()}) as used:
        method.encode(x)
    return {name: tensor.detach() for name, tensor in weights.items() if name in used.found}


def encoder_parameters(method: Method, x: Tensor) -> int:
    """Number of parameters of a method that `Method.encode` uses; arguments as of `used_weights`."""
    parameters = dict(method.named_parameters())
    return sum(tensor.numel() for name, tensor in used_weights(method, x).items() if name in parameters)
