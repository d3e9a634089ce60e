"""An encoder in scikit-learn's pipelines."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

import ssl_bench

X, Y = load_digits(return_X_y=True)
X = X / 16
CHECKS = [
    estimator_checks.check_estimator_cloneable,
    estimator_checks.check_estimator_repr,
    estimator_checks.check_no_attributes_set_in_init,
    estimator_checks.check_get_params_invariance,
    estimator_checks.check_set_params,
    estimator_checks.check_valid_tag_types,
]
"""Checks of scikit-learn that do not fit the estimator on arrays of their own, which are no images."""


@pytest.fixture
def transformer(run_folder: Path) -> ssl_bench.EncoderTransformer:
    return ssl_bench.EncoderTransformer(run_folder)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_checks_of_scikit_learn_that_apply_hold(
    check: Callable[[str, Any], None], transformer: ssl_bench.EncoderTransformer
) -> None:
    check("EncoderTransformer", transformer)


def test_features_are_those_of_the_encoder_for_flat_images_too(transformer: ssl_bench.EncoderTransformer) -> None:
    images = X[:30].reshape(-1, 1, 8, 8)
    features = transformer.set_params(batch_size=7).fit_transform(images)
    assert features.dtype == np.float32
    assert features.shape == (30, len(transformer.get_feature_names_out()))
    np.testing.assert_array_equal(transformer.transform(X[:30]), features)


def test_it_works_in_a_pipeline_a_search_and_a_file(transformer: ssl_bench.EncoderTransformer) -> None:
    pipeline = make_pipeline(transformer, LogisticRegression(max_iter=200))
    search = GridSearchCV(pipeline, {"logisticregression__C": [10.0, 1000.0]}, cv=2).fit(X[:400], Y[:400])
    assert search.score(X[400:600], Y[400:600]) > 0.3  # chance is 0.1; the encoder was trained for one epoch
    again = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(again.predict(X[:50]), search.predict(X[:50]))
    assert clone(transformer).get_params() == transformer.get_params()


def test_it_must_be_fitted_and_its_arguments_are_checked(transformer: ssl_bench.EncoderTransformer) -> None:
    with pytest.raises(NotFittedError):
        transformer.transform(X)
    with pytest.raises(ValueError, match="batch_size is 0, expected a number of at least 1"):
        clone(transformer).set_params(batch_size=0).fit(X)
    with pytest.raises(ValueError, match=r"images of shape \(1797, 63\), expected \(N, 1, 8, 8\)"):
        transformer.fit(X[:, 1:])
