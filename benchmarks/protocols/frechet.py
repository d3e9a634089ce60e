"""The Frechet distance beside torchmetrics and scipy."""

from typing import Any

import numpy as np
import torch

from benchmarks.protocols.arrays import Data, Found, timed


def statistics_pair() -> tuple[Any, Any]:
    from ssl_bench.evaluation.generative.frechet import Statistics

    generator = torch.Generator().manual_seed(0)
    pairs = []
    for shift in (0.0, 0.05):
        x = torch.randn(10_000, 2048, generator=generator) @ torch.randn(2048, 2048, generator=generator) / 45 + shift
        pairs.append(Statistics(len(x), x.double().mean(0), torch.cov(x.double().T)))
    return pairs[0], pairs[1]


def frechet_ssl_bench(data: Data) -> Found:
    from ssl_bench.evaluation.generative.frechet import Statistics, frechet_distance

    a, b = (Statistics(s.number, s.mean.to(data.device), s.covariance.to(data.device)) for s in statistics_pair())
    result, distance = timed(lambda: frechet_distance(a, b))
    return result | {"objective": distance}


def frechet_torchmetrics(data: Data) -> Found:
    from torchmetrics.image.fid import _compute_fid

    a, b = statistics_pair()
    result, distance = timed(lambda: _compute_fid(a.mean, a.covariance, b.mean, b.covariance))
    return result | {"objective": float(distance)}


def frechet_scipy(data: Data) -> Found:
    from scipy.linalg import sqrtm

    a, b = ((s.mean.numpy(), s.covariance.numpy()) for s in statistics_pair())

    def distance() -> float:
        root = sqrtm(a[1] @ b[1]).real
        return float(((a[0] - b[0]) ** 2).sum() + np.trace(a[1] + b[1] - 2 * root))

    result, found = timed(distance)
    return result | {"objective": found}


TABLES = {
    "frechet": {
        "ssl_bench frechet_distance": frechet_ssl_bench,
        "torchmetrics _compute_fid": frechet_torchmetrics,
        "scipy sqrtm": frechet_scipy,
    }
}
