"""Methods that decode latents: samples are their latents decoded."""

import pytest
import torch

from ssl_bench.methods.base import Latent
from tests.methods.test_contract import METHODS, tiny


@pytest.mark.parametrize("name", METHODS)
def test_samples_are_decoded_standard_normal_latents(name: str) -> None:
    method = tiny(name).method.eval()
    if not isinstance(method, Latent):
        return

    def seeded() -> torch.Generator:
        return torch.Generator().manual_seed(0)

    with torch.no_grad():
        many = method.latents(10_000, seeded())
        torch.testing.assert_close(many.mT.cov(), torch.eye(many.shape[1]), atol=0.06, rtol=0)
        assert torch.equal(method.decode(method.latents(4, seeded())), method.sample(4, seeded()))
