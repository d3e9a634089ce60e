"""Barlow Twins: the weight of Eq. 1 and the factor of the loss."""

import torch

from ssl_bench.losses.redundancy import barlow_twins
from ssl_bench.methods.barlow_twins import BarlowTwins
from tests.methods.test_contract import tiny


def test_loss_is_scaled_and_weighs_the_redundancy() -> None:
    method = tiny("barlow_twins", "--method.redundancy_weight=0.3", "--method.scale=0.5").method
    assert isinstance(method, BarlowTwins)
    z = torch.randn(2, 8, 16)
    torch.testing.assert_close(method.objective(z)["loss"], 0.5 * barlow_twins(z[0], z[1], 0.3))
