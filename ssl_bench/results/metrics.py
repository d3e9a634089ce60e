"""Unit, direction and precision of the metrics in tables."""

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """How the values of a metric are read.

    Attributes:
        unit: unit in the heading of its column; empty if it has none.
        higher_is_better: whether higher values are better (True) or lower values (False); None if neither is.
    """

    unit: str = ""
    higher_is_better: bool | None = None


METRICS = {
    **dict.fromkeys(("accuracy", "purity", "nmi", "ari"), Metric("%", True)),
    "psnr": Metric("dB", True),
    **dict.fromkeys(("ssim", "inception_score"), Metric("", True)),
    **dict.fromkeys(("mse", "fid", "kid", "fd", "kd"), Metric("", False)),
    "peak_memory_mb": Metric("MiB", False),
}
"""Metrics by their names, or by the prefix of their names (``fd`` of ``fd_efficientnet_lite0``).

Other metrics have neither unit nor direction: chosen settings such as ``l2``, and metrics that are not comparable
between encoders because they depend on the scale of the features, such as log-likelihood and inertia.
"""


def unit(column: str) -> str:
    """Unit of a column such as ``svm/accuracy``; empty if it has none."""
    return _metric(column).unit


def higher_is_better(column: str) -> bool | None:
    """Whether higher values are better (True) or lower values (False); None if neither is, as for spreads (``_sd``)."""
    protocol, _, name = column.rpartition("/")
    return None if protocol.endswith("_sd") or name.endswith("_sd") else _metric(column).higher_is_better


def number_format(values: Iterable[float]) -> str:
    """Number format of a column: three digits of the largest number, at least one decimal; scientific below 1e-4."""
    sizes = [abs(value) for value in values if value and math.isfinite(value)]
    if sizes and min(sizes) < 1e-4:
        return ".3g"
    decimals = 2 - math.floor(math.log10(max(sizes))) if sizes else 1
    return f".{max(1, decimals)}f"


def _metric(column: str) -> Metric:
    if column.startswith("seconds/"):
        return Metric("s", False)
    words = column.rpartition("/")[2].split("_")
    begins = ("_".join(words[:n]) for n in range(len(words), 0, -1))
    return next((METRICS[begin] for begin in begins if begin in METRICS), Metric())
