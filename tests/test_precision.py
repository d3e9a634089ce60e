"""The precision that suits a machine."""

import pytest
import torch

from ssl_bench.precision import automatic


@pytest.mark.parametrize(
    ("accelerator", "gpu", "bf16_of_gpu", "amx", "expected"),
    [
        ("auto", True, True, False, "bf16-mixed"),
        ("gpu", True, True, False, "bf16-mixed"),
        ("auto", True, False, True, "32-true"),  # the GPU emulates bfloat16
        ("cpu", True, True, False, "32-true"),
        ("cpu", True, False, True, "bf16-mixed"),
        ("auto", False, False, True, "bf16-mixed"),
        ("auto", False, False, False, "32-true"),
        ("mps", False, False, True, "32-true"),
    ],
)
def test_bfloat16_is_chosen_where_it_is_in_hardware(
    accelerator: str, gpu: bool, bf16_of_gpu: bool, amx: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16_of_gpu or including_emulation)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": amx, "avx512_bf16": True}, raising=False)
    assert automatic(accelerator) == expected
