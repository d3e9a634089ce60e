"""Images of any number of channels in figures."""

import numpy as np
import pytest
import torch

from ssl_bench.plots.primitives import canvas, show_image


@pytest.mark.parametrize(("channels", "shown"), [(1, [0, 0, 0]), (2, [0, 0, 0]), (3, [0, 1, 2]), (13, [0, 1, 2])])
def test_three_channels_are_shown_of_images_of_any_number(channels: int, shown: list[int]) -> None:
    ax = canvas(1, 1).subplots()
    image = torch.rand(channels, 4, 5)
    show_image(image, ax)
    assert np.array_equal(ax.images[0].get_array(), image[shown].permute(1, 2, 0))  # type: ignore[arg-type]
