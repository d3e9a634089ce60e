"""LARS, step by step, against an implementation of its equations in NumPy."""

import numpy as np
import pytest
import torch

from ssl_bench.optim.lars import LARS

SHAPES = {"weight": (4, 3), "large": (2, 5), "zero": (3, 2), "bias": (4,)}
SCALE = {"weight": 1.0, "large": 50.0, "zero": 0.0, "bias": 1.0}
"""Norms for which the local learning rate is below the clipping, above it, and not defined."""


@pytest.mark.parametrize("trust_clip", [True, False])
def test_ten_steps_equal_the_equations(trust_clip: bool) -> None:
    generator = np.random.default_rng(0)
    expected = {name: SCALE[name] * generator.standard_normal(shape) for name, shape in SHAPES.items()}
    parameters = {name: torch.nn.Parameter(torch.tensor(value)) for name, value in expected.items()}
    matrices = [p for p in parameters.values() if p.ndim > 1]
    optimizer: torch.optim.Optimizer = LARS(
        [{"params": matrices}, {"params": [parameters["bias"]], "weight_decay": 0.0}],
        lr=0.5, momentum=0.9, weight_decay=0.1, trust_coeff=0.05, trust_clip=trust_clip,
    )  # fmt: skip
    velocity = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    for _ in range(10):
        for name, w in expected.items():
            gradient = generator.standard_normal(w.shape)
            parameters[name].grad = torch.tensor(gradient)
            if w.ndim > 1:
                w_norm, g_norm = np.linalg.norm(w), np.linalg.norm(gradient)
                local = 0.05 * w_norm / (g_norm + 0.1 * w_norm) if w_norm else 1.0  # Eq. 6 of You et al.
                if trust_clip:
                    local = min(local / 0.5, 1)
                gradient = local * (gradient + 0.1 * w)
            velocity[name] = 0.9 * velocity[name] + gradient
            expected[name] = w - 0.5 * velocity[name]
        optimizer.step()
        for name, w in expected.items():
            torch.testing.assert_close(parameters[name].detach(), torch.tensor(w), rtol=1e-6, atol=1e-6)
