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


def test_other_data_of_a_similar_name_and_damaged_records_are_not_used(tmp_path: Path) -> None:
    for name, fit in {"vae-digits-s0-a": 20.0, "vae-digits-small-s0-a": 90.0, "vae-digits-s1-a": 90.0}.items():
        (tmp_path / name).mkdir()
        record(epochs=2, seconds={"fit": fit}).write(tmp_path / name)
    (tmp_path / "vae-digits-s1-a" / "metrics.json").write_text("{")
    (found,) = hours([PlannedRun("vae", (), tmp_path / "vae-digits-s9-b", 2)])
    assert found == pytest.approx(20 / 3600)
