"""Leaderboards: what they say equals what the records say."""

import pytest

from ssl_bench.results.report.boards import Board, make_boards, ranking_input
from tests.results.records import record


def board(*records: object) -> Board:
    (found,) = make_boards(list(records))  # type: ignore[arg-type]
    return found


def test_means_errors_and_values_of_seeds() -> None:
    runs = [record(seed=seed, metrics={"svm/accuracy": value}) for seed, value in ((2, 94.0), (0, 90.0), (1, 92.0))]
    (row,) = board(*runs).rows
    cell = row.cells[""]["svm/accuracy"]
    assert (cell.mean, cell.values, row.seeds) == (92.0, [90.0, 92.0, 94.0], [0, 1, 2])
    assert cell.se == pytest.approx(2 / 3**0.5)
    assert cell.text == "92.0 ± 1.2"
    assert [runs[run].seed for run in row.runs] == row.seeds


def test_columns_have_unit_direction_and_visibility() -> None:
    run = record(metrics={"svm/accuracy": 90.0, "svm/c": 1.0, "knn_5_euclidean/accuracy": 80.0, "fid": 9.0},
                 seconds={"fit": 5.0}, parameters=7)  # fmt: skip
    columns = {one.name: one for one in board(run).columns}
    assert (columns["svm/accuracy"].unit, columns["svm/accuracy"].better) == ("%", 1)
    assert (columns["fid"].better, columns["svm/c"].better, columns["seconds/fit"].better) == (-1, 0, -1)
    assert [name for name, one in columns.items() if one.shown] == ["svm/accuracy", "fid"]
    assert [name for name, one in columns.items() if one.cost] == ["seconds/fit", "peak_memory_mb", "parameters"]


def test_metrics_of_targets_are_apart() -> None:
    metrics = {"svm/accuracy": 70.0, "svm/accuracy_hair": 80.0, "svm/accuracy_gender": 60.0}
    found = board(record(targets=["hair", "gender"], metrics=metrics))
    assert found.targets == ["", "hair", "gender"]
    means = {
        target: cells["svm/accuracy"].mean for target, cells in found.rows[0].cells.items() if "svm/accuracy" in cells
    }
    assert means == {"": 70.0, "hair": 80.0, "gender": 60.0}


def test_untrained_networks_are_baselines() -> None:
    runs = [record("vae", setting="a", untrained=True, epochs=0), record("vae", setting="b", family="generative")]
    assert [row.family for row in board(*runs).rows] == ["baseline", "generative"]


def test_the_family_of_older_records_is_that_of_their_method() -> None:
    runs = [
        record("vae-narrow", setting="a"),
        record("mine", setting="b"),
        record("own", setting="c", family="quantum"),
    ]
    (found,) = make_boards(runs, {"vae": "generative"})
    assert [row.family for row in found.rows] == ["generative", "other", "other"]


def test_values_of_papers_are_notes() -> None:
    reference = {"source": "Table 1", "metrics": {"knn_5/accuracy": 97.5}}
    assert "simvae in the paper: knn_5/accuracy 97.5 (Table 1)" in board(record(reference=reference)).notes


def test_correlations_are_over_one_setting_of_each_method() -> None:
    values = {"svm/accuracy": 1.0, "knn_5/accuracy": 2.0}
    runs = [record("a", setting=str(i), epochs=i, metrics={k: v + i for k, v in values.items()}) for i in range(6)]
    runs += [record("b", metrics=values), record("c", metrics=values, family="supervised")]
    runs += [record("d", metrics=values, epochs=0, untrained=True)]
    found = board(*runs)
    assert found.main == ["svm/accuracy", "knn_5/accuracy"]
    assert found.agreement[0][1].n == 2


def test_networks_without_training_have_no_training_time() -> None:
    runs = [
        record("a", epochs=0, untrained=True, seconds={"fit": 0.002, "knn": 1.0}),
        record("b", seconds={"fit": 9.0}),
    ]
    assert [row.cells[""].get("seconds/fit", (None,))[0] for row in board(*runs).rows] == [None, 9.0]
    assert "seconds/knn" in board(*runs).rows[0].cells[""]


def test_failures_notes_and_metrics_that_are_not_comparable_are_said() -> None:
    runs = [
        record("a", setting="a", scored={"knn_5/accuracy": "knn v1 aa"}, failed={"svm": "no memory"}),
        record("b", setting="b", scored={"knn_5/accuracy": "knn v2 bb"}, notes={"knn": "k = 200 left out"}),
    ]
    notes = " | ".join(board(*runs).notes)
    assert all(text in notes for text in ("svm failed: no memory", "b: k = 200 left out", "not comparable"))


def test_data_sets_have_separate_boards() -> None:
    assert [one.data for one in make_boards([record(), record(data="mnist")])] == ["digits", "mnist"]


def test_a_metric_without_a_finite_value_is_kept() -> None:
    cell = board(record(metrics={"svm/accuracy": float("nan")})).rows[0].cells[""]["svm/accuracy"]
    assert cell.text == "nan"


class TestRankingScores:
    """The scores that are ranked."""

    def test_are_those_of_the_main_metrics_by_seed(self) -> None:
        runs = [record(seed=s, metrics={"knn_5/accuracy": 90.0 + s, "knn_1/accuracy": 1.0}) for s in (0, 1)]
        found = ranking_input(make_boards(runs))
        assert found.scores == {"simvae": {"digits": {"knn_5/accuracy": [90.0, 91.0]}}}
        assert (found.epochs, found.notes) == ({"simvae": {2}}, [])

    def test_of_several_settings_are_those_with_the_most_epochs_and_never_the_best(self) -> None:
        good, long = record(setting="a", metrics={"knn_5/accuracy": 99.0}), record(setting="b", epochs=9)
        found = ranking_input(make_boards([good, long]))
        assert found.scores["simvae"]["digits"] == {"knn_5/accuracy": [90.0]}
        assert "with 2 epochs is not ranked" in found.notes[0]

    def test_are_without_methods_that_are_trained_with_labels(self) -> None:
        runs = [record(), record("supervised", family="supervised")]
        assert set(ranking_input(make_boards(runs)).scores) == {"simvae"}

    def test_of_an_untrained_network_belong_to_another_method(self) -> None:
        runs = [record(), record(setting="b", epochs=0, untrained=True)]
        assert set(ranking_input(make_boards(runs)).scores) == {"simvae", "simvae (untrained)"}
