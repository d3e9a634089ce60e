"""Scores do not depend on a factor of all features, such as 1e-30, whose square is 0 in float32."""

from functools import cache
from math import log

import pytest
import torch
from torch import Tensor

from ssl_bench.errors import UserError
from ssl_bench.evaluation.protocols.gmm import GMM
from ssl_bench.evaluation.protocols.kmeans import KMeans
from ssl_bench.evaluation.protocols.knn import KNN
from ssl_bench.evaluation.protocols.layer_probe import LayerProbe
from ssl_bench.evaluation.protocols.linear_probe import LinearProbe
from ssl_bench.evaluation.protocols.linear_probe_sgd import LinearProbeSGD
from ssl_bench.evaluation.protocols.mlp_probe import MLPProbe
from ssl_bench.evaluation.protocols.noise_probe import NoiseProbe
from ssl_bench.evaluation.protocols.svm import SVM
from ssl_bench.evaluation.task import LabelledProtocol, Task
from tests.evaluation.conftest import gaussians, split, task

PROBE = LinearProbe(l2=(1e-3, 1e-1))
STANDARDISED: dict[str, LabelledProtocol] = {
    "linear_probe": PROBE,
    "svm": SVM(c=(1e-2, 1.0)),
    "mlp_probe": MLPProbe(hidden=16, weight_decay=(0.0,), max_epochs=4),
}
PROTOCOLS: dict[str, LabelledProtocol] = STANDARDISED | {
    "layer_probe": LayerProbe(PROBE),
    "noise_probe": NoiseProbe(l2=PROBE.l2),
    "knn": KNN(k=(1, 5), weights=("uniform", "exponential")),
    "kmeans": KMeans(distances=("spherical", "euclidean"), restarts=3),
    "gmm": GMM(inits=2),
    "gmm_diagonal": GMM(inits=2, covariance="diagonal"),
}
SCALES = {"1e-30": 2.0**-100, "1e-20": 2.0**-66, "1e20": 2.0**66, "1e30": 2.0**100}
"""Powers of two, since a product with them has no rounding error."""
DIM = {600: 6, 30: 60}
"""Number of features by the number of images: solved in the features, or in the span of the images."""


def features(images: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    x, y = gaussians(images, DIM[images], 3, spread=1.0)
    return x.to(dtype), y


@cache
def metrics(name: str, images: int, scale: float, dtype: torch.dtype = torch.float32) -> dict[str, float]:
    x, y = features(images, dtype)
    given = split(scale * x, y, 3)
    (found,) = PROTOCOLS[name](Task(given.train, given.validation, given.test, 3, layers=(given,), noisy={0: (given,)}))
    return found


def scaled(expected: dict[str, float], scale: float, dim: int) -> dict[str, float]:
    """Metrics of features multiplied by a number: inertia and density are in the units of the features."""
    factor = {"kmeans_euclidean_best/inertia": scale**2}
    shift = dict.fromkeys(("gmm/log_likelihood", "gmm_diagonal/log_likelihood"), -dim * log(scale))
    return {name: factor.get(name, 1) * value + shift.get(name, 0) for name, value in expected.items()}


def dimensions(name: str, images: int) -> int:
    """Dimension of the density: the number of features, or of the principal components of 18 centred images."""
    return 17 if (name, images) == ("gmm", 30) else DIM[images]


@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
@pytest.mark.parametrize("images", DIM, ids=["tall", "wide"])
@pytest.mark.parametrize("name", PROTOCOLS)
def test_scores_do_not_depend_on_the_scale(name: str, images: int, scale: float) -> None:
    expected = metrics(name, images, 1.0)
    accuracy = next(key for key in expected if key.endswith("/accuracy"))
    assert expected[accuracy] > 40  # chance is 33
    expected = scaled(expected, scale, dimensions(name, images))
    assert metrics(name, images, scale) == pytest.approx(expected, rel=1e-9, abs=0)


@pytest.mark.parametrize("images", DIM, ids=["tall", "wide"])
@pytest.mark.parametrize("name", PROTOCOLS)
def test_scores_in_float64_do_not_depend_on_a_scale_whose_square_is_zero(name: str, images: int) -> None:
    scale = 2.0**-565  # 1e-170
    expected = scaled(metrics(name, images, 1.0, torch.float64), scale, dimensions(name, images))
    assert metrics(name, images, scale, torch.float64) == pytest.approx(expected, rel=1e-9, abs=0)


@pytest.mark.parametrize("images", DIM, ids=["tall", "wide"])
@pytest.mark.parametrize("name", STANDARDISED)
def test_scores_of_standardised_features_do_not_depend_on_the_scale_of_each(name: str, images: int) -> None:
    x, y = features(images, torch.float32)
    (found,) = STANDARDISED[name](split(x * 2.0 ** torch.linspace(-100, 100, x.shape[1]).round(), y, 3))
    assert found == metrics(name, images, 1.0)


@pytest.mark.parametrize("name", STANDARDISED)
def test_deviations_without_an_inverse_in_float32_are_standardised_in_float64(name: str) -> None:
    x, y = features(600, torch.float32)
    z = x * 2.0**-121  # the smallest deviation is 1e-2 times this
    assert float(z.std(0).min()) < torch.finfo(torch.float32).tiny
    (found,) = STANDARDISED[name](split(z, y, 3))
    accuracy = f"{name}/accuracy"
    assert found[accuracy] == pytest.approx(metrics(name, 600, 1.0)[accuracy], abs=1)


@pytest.mark.parametrize("name", STANDARDISED)
def test_a_feature_that_is_constant_in_train_has_no_effect(name: str) -> None:
    x, y = features(600, torch.float32)
    x = torch.cat([x, torch.ones(600, 1)], 1)
    other = x.clone()
    other[500:, -1] = 1e20
    parts = [(x[:400], y[:400]), (x[400:500], y[400:500]), (x[500:], y[500:])]
    expected = STANDARDISED[name](task(parts[0], parts[1], parts[2], 3))
    assert STANDARDISED[name](task(parts[0], parts[1], (other[500:], y[500:]), 3)) == expected


def test_moments_are_those_of_the_features_without_a_unit() -> None:
    given = split(*features(600, torch.float32), 3)
    x = given.train.features
    centred = x - x[0]
    shift = centred.sum(0, dtype=torch.float64) / len(x)
    covariance = (centred.T @ centred).double() / len(x) - torch.outer(shift, shift)
    scaling, correlation = given.moments()
    assert torch.equal(scaling.mean, x[0].double() + shift)
    assert torch.equal(scaling.deviation, covariance.diagonal().sqrt())
    assert torch.equal(correlation, covariance / torch.outer(scaling.deviation, scaling.deviation))


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (1e-30, r"^linear_probe_sgd: the test features, of at most \de-28, have no effect on the outputs"),
        (1e30, r"^linear_probe_sgd: weights are not finite with learning_rate = 30 and features of at most \de\+32"),
    ],
)
def test_sgd_on_features_as_they_are_refuses_scales_that_it_cannot_use(scale: float, message: str) -> None:
    x, y = features(600, torch.float32)
    with pytest.raises(UserError, match=message):
        LinearProbeSGD(epochs=2)(split(scale * x, y, 3))
