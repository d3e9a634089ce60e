"""Run records and the table made of them."""

import json
from dataclasses import asdict
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from ssl_bench.errors import UserError
from ssl_bench.files import replacing
from ssl_bench.results import SCHEMA, Record
from ssl_bench.table import print_table, read_records, split_name


def record(method: str = "simvae", seed: int = 0, setting: str = "a", **changes: object) -> Record:
    known = {"data": "digits", "epochs": 2, "config_hash": f"{setting}{seed}", "setting_hash": setting, "commit": None,
             "command": "ssl-bench bench", "device": "cpu", "metrics": {"knn_5/accuracy": 90.0}}  # fmt: skip
    return Record(method=method, seed=seed, **(known | changes))  # type: ignore[arg-type]


def printed(*records: Record) -> str:
    console = Console(width=120, record=True, file=StringIO())
    print_table(list(records), console)
    return console.export_text()


def test_a_record_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    written = record(seconds={"fit": 1.5}, left_out=["Bald"], failed={"knn": "why"})
    written.write(tmp_path)
    assert Record.read(tmp_path) == written
    assert json.loads((tmp_path / "metrics.json").read_text())["schema"] == SCHEMA
    assert set(asdict(written)["versions"]) >= {"torch", "lightning"}


def test_a_file_that_cannot_be_finished_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "file") as file:
        file.write_text(f"new {1 / 0}")
    assert (tmp_path / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_records_are_found_in_run_folders_and_in_folders_of_them(tmp_path: Path) -> None:
    for seed in range(2):
        (tmp_path / f"run{seed}").mkdir()
        record(seed=seed).write(tmp_path / f"run{seed}")
    assert len(read_records([tmp_path])) == 2
    assert len(read_records([tmp_path / "run0", tmp_path / "run1"])) == 2
    with pytest.raises(UserError, match=r"no metrics\.json in .*nowhere"):
        read_records([tmp_path / "nowhere"])


def test_seeds_of_a_setting_are_averaged_with_their_standard_error() -> None:
    text = printed(*(record(seed=s, metrics={"knn_5/accuracy": value}) for s, value in enumerate([90.0, 92.0, 94.0])))
    assert "92.0 ± 1.2" in text  # sd 2 over sqrt(3)


def test_settings_and_commits_are_never_averaged_with_one_another() -> None:
    text = printed(record(), record(setting="b", seed=1), record(commit="c", seed=2))
    assert "±" not in text
    assert text.count("simvae") == 3


def test_the_papers_figures_stand_below_ours() -> None:
    reference = {"source": "Table 1", "metrics": {"knn_5/accuracy": 84.0, "gmm/accuracy": 69.9}}
    lines = printed(record(reference=reference)).splitlines()
    (paper,) = (line for line in lines if "simvae (paper)" in line)
    assert "84.0" in paper
    assert "69.9" not in paper  # we have no such figure to set beside it
    assert "paper: Table 1" in lines


def test_several_targets_are_rows_where_the_paper_names_them() -> None:
    metrics = {"knn_5/accuracy": 80.0, "knn_5/accuracy_gender": 85.0, "knn_5/accuracy_Bald": 99.0}
    text = printed(record(metrics=metrics, reference={"source": "s", "metrics": {"knn_5/accuracy_gender": 87.1}}))
    assert "mean" in text
    assert "gender" in text
    assert "87.1" in text
    assert "Bald" not in text


def test_failures_and_targets_left_out_are_named() -> None:
    text = printed(record(failed={"mlp_probe": "no such thing"}, left_out=["Bald"]))
    assert "mlp_probe failed: no such thing" in text
    assert "left out of every mean: Bald" in text


@pytest.mark.parametrize(
    ("metric", "parts"),
    [
        ("knn_5/accuracy", ("knn_5/accuracy", "")),
        ("svm/accuracy_5_o_Clock_Shadow", ("svm/accuracy", "5_o_Clock_Shadow")),
        ("inception_score", ("inception_score", "")),
    ],
)
def test_a_metrics_name_is_a_column_and_a_target(metric: str, parts: tuple[str, str]) -> None:
    assert split_name(metric) == parts
