"""The parameters of an encoder are those that its features depend on."""

import pytest
import torch
from torch import nn

from ssl_bench.methods.used_weights import encoder_parameters
from tests.methods.test_contract import METHODS, tiny


def size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("name", METHODS)
def test_parameters_are_those_on_which_the_features_depend(name: str) -> None:
    run = tiny(name)
    method = run.method.eval().requires_grad_()
    x = run.views.evaluation_input(run.data.split("test")[torch.arange(2)].images)
    method.encode(x).sum().backward()
    used = sum(parameter.numel() for parameter in method.parameters() if parameter.grad is not None)
    assert encoder_parameters(method, x) >= used > 0
    assert encoder_parameters(method, x) < size(method)


@pytest.mark.parametrize(("name", "network"), [("vae", "encoder"), ("simclr", "backbone"), ("byol", "backbone")])
def test_heads_decoders_and_teachers_are_not_counted(name: str, network: str) -> None:
    run = tiny(name)
    x = run.views.evaluation_input(run.data.split("test")[torch.arange(2)].images)
    assert encoder_parameters(run.method.eval(), x) == size(run.method.get_submodule(network))
