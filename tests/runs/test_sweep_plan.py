"""Estimated durations of the runs of a sweep."""

from pathlib import Path

import pytest

from ssl_bench.runs.sweep_plan import PlannedRun, hours
from tests.results.records import record


@pytest.mark.parametrize(
    ("recorded", "planned", "seconds"),
    [
        ([], 4, None),
        ([(2, 20.0)], 4, 45.0),
        ([(2, 20.0), (4, 20.0)], 4, 35.0),  # the median
        ([(0, 0.0)], 4, None),
        ([(0, 0.0), (2, 20.0)], 4, 45.0),
        ([(0, 0.0)], 0, 5.0),
        ([(2, 20.0)], 0, 5.0),
    ],
)
def test_time_of_training_is_proportional_to_epochs(
    recorded: list[tuple[int, float]], planned: int, seconds: float | None, tmp_path: Path
) -> None:
    for seed, (epochs, fit) in enumerate(recorded):
        (folder := tmp_path / f"vae-digits-s{seed}-a").mkdir()
        record(epochs=epochs, seconds={"fit": fit, "knn": 5.0}).write(folder)
    (found,) = hours([PlannedRun("vae", (), tmp_path / "vae-digits-s9-b", planned)])
    assert found == (None if seconds is None else pytest.approx(seconds / 3600))
