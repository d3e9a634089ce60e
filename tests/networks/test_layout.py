"""The channels_last layout, and the convolutions whose gradient would then be written beyond its buffer."""

import pytest
import torch
from torch import nn

from ssl_bench.networks.layout import use_channels_last


@pytest.mark.parametrize(
    ("layer", "changed"),
    [
        (nn.Conv2d(4, 8, 1, stride=2), False),
        (nn.Conv2d(14, 8, 1, stride=2, groups=2), False),
        (nn.Conv2d(8, 8, 1, stride=2), True),
        (nn.Conv2d(4, 8, 1), True),
        (nn.Conv2d(4, 8, 3, stride=2), True),
    ],
)
def test_only_strided_1x1_convolutions_of_few_channels_keep_their_layout(
    layer: nn.Conv2d, changed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    other = nn.Conv2d(16, 16, 3)
    assert use_channels_last(nn.Sequential(other, layer)) is changed
    assert other.weight.is_contiguous(memory_format=torch.channels_last) is changed


def test_other_processors_run_all_convolutions_in_channels_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert use_channels_last(nn.Conv2d(4, 8, 1, stride=2))
