"""Runs as objects, and as a data frame."""

from pathlib import Path

import pytest

import ssl_bench
from tests.results.records import record


def test_a_run_has_record_configuration_features_method_and_encoder(run_folder: Path) -> None:
    run = ssl_bench.load_run(str(run_folder))
    assert (run.record.method, run.record.data, run.config["seed"]) == ("vae", "digits", 0)
    assert run.metrics["knn_5/accuracy"] > 50
    train, labels = run.features("train")
    assert len(train) == len(labels) > 1000
    assert isinstance(run.method(), ssl_bench.Method)
    assert run.encoder().feature_dim == train.shape[1]


def test_wrong_folders_and_splits_are_usage_errors(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ssl_bench.UserError, match=r"no metrics\.json in"):
        ssl_bench.load_run(tmp_path)
    run = ssl_bench.load_run(run_folder)
    with pytest.raises(ssl_bench.UserError, match="split 'val': give one of train, validation, test"):
        run.features("val")


def test_a_data_frame_has_a_row_per_run(run_folder: Path, tmp_path: Path) -> None:
    import pandas

    for seed in (0, 1):
        (tmp_path / f"run{seed}").mkdir()
        record(seed=seed, metrics={"svm/accuracy": 90.0 + seed}, seconds={"fit": 2.0}).write(tmp_path / f"run{seed}")
    frame = ssl_bench.compare(tmp_path)
    assert isinstance(frame, pandas.DataFrame)
    assert frame["svm/accuracy"].tolist() == [90.0, 91.0]
    assert frame["seconds/fit"].tolist() == [2.0, 2.0]
    both = ssl_bench.compare([tmp_path / "run0", ssl_bench.load_run(run_folder)])
    assert both["method"].tolist() == ["simvae", "vae"]
    assert both["svm/accuracy"].isna().tolist() == [False, True]
    names = both.columns.tolist()
    assert names.index("knn_5/accuracy") < names.index("seconds/fit")


def test_a_run_that_is_given_twice_has_one_row(run_folder: Path) -> None:
    run = ssl_bench.load_run(run_folder)
    assert len(ssl_bench.compare(run)) == len(ssl_bench.compare([run_folder, run])) == 1


def test_no_runs_are_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(ssl_bench.UserError, match="compare got no runs"):
        ssl_bench.compare([])
    with pytest.raises(ssl_bench.UserError, match=r"no metrics\.json in"):
        ssl_bench.compare(tmp_path)
