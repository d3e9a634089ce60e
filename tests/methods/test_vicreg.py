"""VICReg: the terms of Eq. 6 and their weights."""

import torch

from ssl_bench.losses.redundancy import covariance, invariance, variance
from ssl_bench.methods.vicreg import VICReg
from tests.methods.test_contract import tiny


def test_loss_is_the_weighted_sum_of_both_views_terms() -> None:
    flags = ["--method.invariance_weight=2", "--method.variance_weight=3", "--method.covariance_weight=5"]
    method = tiny("vicreg", *flags).method
    assert isinstance(method, VICReg)
    z, z_prime = torch.randn(2, 8, 16)
    expected = 2 * invariance(z, z_prime) + 3 * (variance(z) + variance(z_prime))
    expected += 5 * (covariance(z) + covariance(z_prime))
    torch.testing.assert_close(method.objective(torch.stack([z, z_prime]))["loss"], expected)
