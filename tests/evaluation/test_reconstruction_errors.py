"""SSIM against torchmetrics."""

import pytest
import torch
from torch import Tensor

from ssl_bench.evaluation.reconstruction_errors import ssim


def their_ssim(x: Tensor, y: Tensor) -> Tensor:
    """SSIM of torchmetrics without the border of reflected pixels."""
    from torchmetrics.functional.image import structural_similarity_index_measure  # imported here, as it takes seconds

    _, places = structural_similarity_index_measure(y, x, data_range=1.0, return_full_image=True)
    return places[..., 5:-5, 5:-5].flatten(1).mean(1)


@pytest.mark.parametrize("shape", [(3, 11, 11), (3, 32, 20)])
def test_ssim_agrees_with_torchmetrics(shape: tuple[int, ...]) -> None:
    x = torch.rand(5, *shape, generator=torch.Generator().manual_seed(0))
    y = (x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    torch.testing.assert_close(ssim(x, y), their_ssim(x, y), rtol=1e-4, atol=1e-5)
