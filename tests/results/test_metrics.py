"""Unit, direction and precision of metrics."""

import pytest

from ssl_bench.results.metrics import higher_is_better, number_format, unit


@pytest.mark.parametrize(
    ("metric", "higher", "expected"),
    [
        ("svm/accuracy", True, "%"),
        ("kmeans_best/nmi", True, "%"),
        ("kmeans/ari", True, "%"),
        ("kmeans/purity", True, "%"),
        ("kmeans_sd/accuracy", None, "%"),  # a spread
        ("reconstruction/psnr", True, "dB"),
        ("reconstruction/ssim", True, ""),
        ("reconstruction/mse", False, ""),
        ("fid", False, ""),
        ("kid", False, ""),
        ("kid_sd", None, ""),
        ("fd_efficientnet_lite0", False, ""),
        ("kd_efficientnet_lite0", False, ""),
        ("inception_score", True, ""),
        ("inception_score_efficientnet_lite0", True, ""),
        ("linear_probe/l2", None, ""),  # a chosen setting
        ("gmm/log_likelihood", None, ""),  # depends on the scale of the features
        ("rank/rankme", None, ""),
        ("my/metric", None, ""),
        ("seconds/fit", False, "s"),
        ("peak_memory_mb", False, "MiB"),
    ],
)
def test_a_metric_has_its_direction_and_its_unit(metric: str, higher: bool | None, expected: str) -> None:
    assert (higher_is_better(metric), unit(metric)) == (higher, expected)


@pytest.mark.parametrize(
    ("values", "spec"),
    [([85.1, 100.0], ".1f"), ([0.0123, 0.0005], ".4f"), ([3.2, 0.1], ".2f"), ([1e-6, 1.0], ".3g"), ([0.0], ".1f")],
)
def test_numbers_have_three_digits_of_the_largest_of_their_column(values: list[float], spec: str) -> None:
    assert number_format(values) == spec
