"""The encoder of inversion: sizes, and that no image sees another."""

import pytest
import torch

from ssl_bench.errors import UserError
from ssl_bench.networks.inverter import InversionEncoder


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 64, 64)])
def test_codes_of_every_size_of_image(shape: tuple[int, ...]) -> None:
    assert InversionEncoder(shape, 40, width=8, plateau=8)(torch.rand(3, *shape)).shape == (3, 40)


def test_images_of_a_batch_do_not_interact() -> None:
    torch.manual_seed(0)
    encoder, x = InversionEncoder((1, 8, 8), 6, width=8), torch.randn(4, 1, 8, 8)
    torch.testing.assert_close(encoder(x)[1:2], encoder(x[1:2]))


def test_the_released_size() -> None:
    """At 32 px: a 1x1 convolution, three blocks of 512 channels, and 16 * 512 numbers to 8 codes of 512."""
    with torch.device("meta"):
        encoder = InversionEncoder((3, 32, 32), 8 * 512)
    block = 2 * (9 * 512 * 512 + 512) + 512 * 512
    assert sum(p.numel() for p in encoder.parameters()) == 4 * 512 + 3 * block + (16 * 512 + 1) * 8 * 512


@pytest.mark.parametrize("shape", [(3, 28, 28), (3, 32, 64), (2,)])
def test_unsupported_images_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"InversionEncoder: images of shape .*: give square ones of 8, 16"):
        InversionEncoder(shape, 4)
