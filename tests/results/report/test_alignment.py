"""Alignment of maps: it undoes rotations, reflections, scales and shifts, and is the nearest one to the reference."""

import numpy as np
import pytest
from scipy.spatial import procrustes as scipy_procrustes

from ssl_bench.results.report.alignment import normalized, procrustes

POINTS = np.random.default_rng(0).normal(size=(40, 2)) * [3, 1]
EVERY = np.arange(40)
QUARTER_TURN, REFLECTION = np.array([[0.0, 1.0], [-1.0, 0.0]]), np.diag([1.0, -1.0])


@pytest.mark.parametrize(
    "change", [QUARTER_TURN, REFLECTION, QUARTER_TURN @ REFLECTION], ids=["turn", "mirror", "both"]
)
def test_a_moved_copy_is_moved_back(change: np.ndarray) -> None:
    moved = 7 * POINTS @ change + [100, -3]
    np.testing.assert_allclose(procrustes(moved, POINTS, EVERY, EVERY), POINTS, atol=1e-10)


def test_the_distance_to_the_reference_is_that_of_scipy() -> None:
    """Scipy also scales the points to the nearest size, which the disparity 1 - s^2 undoes."""
    noisy = POINTS @ QUARTER_TURN + np.random.default_rng(1).normal(size=POINTS.shape)
    ours = normalized(procrustes(noisy, POINTS, EVERY, EVERY), EVERY)
    agreement = (ours * normalized(POINTS, EVERY)).sum() / len(POINTS)
    assert 1 - agreement**2 == pytest.approx(scipy_procrustes(POINTS, noisy)[2])


def test_only_shared_images_decide_and_all_points_are_moved() -> None:
    order = np.random.default_rng(2).permutation(40)[:25]
    moved = np.concatenate([2 * POINTS[order] @ QUARTER_TURN + 1, np.full((5, 2), 50.0)])
    found = procrustes(moved, POINTS, np.arange(25), order)
    np.testing.assert_allclose(found[:25], POINTS[order], atol=1e-10)
    assert len(found) == 30


def test_points_at_one_place_stay_finite() -> None:
    assert np.isfinite(procrustes(np.ones((4, 2)), POINTS[:4], np.arange(4), np.arange(4))).all()
