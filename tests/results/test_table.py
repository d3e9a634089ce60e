"""Tables: averages, columns, best values, targets."""

import math
from itertools import permutations
from pathlib import Path

import pytest

from ssl_bench.cli import main
from ssl_bench.errors import UserError
from ssl_bench.results.cells import average
from ssl_bench.results.record import Record
from ssl_bench.results.table import known_targets, make_tables, read_records, split_name
from tests.results.records import record


class TestAveraging:
    def test_standard_error_is_the_sample_deviation_over_the_root_of_the_number_of_seeds(self) -> None:
        cell = average([90.0, 92.0, 94.0])
        assert (cell.mean, cell.n) == (92.0, 3)
        assert cell.se == pytest.approx(2 / 3**0.5, rel=1e-12)
        assert average([90.0]).se is None

    @pytest.mark.parametrize("values", [[math.nan, 90.0], [math.inf, 90.0], [math.inf, -math.inf]])
    def test_values_that_are_not_finite_have_no_finite_mean_and_no_standard_error(self, values: list[float]) -> None:
        cell = average(values)
        assert not math.isfinite(cell.mean)
        assert (cell.se, cell.n) == (None, 2)


class TestBest:
    def best(self, metric: str, *seeds: float | list[float]) -> list[int]:
        """Indices of the marked rows; each row has one value, or the values of several seeds."""
        records = [
            record(f"m{i}", seed=seed, metrics={metric: value})
            for i, values in enumerate(seeds)
            for seed, value in enumerate(values if isinstance(values, list) else [values])
        ]
        (table,) = make_tables(records, ("*",))
        return [i for i, row in enumerate(table.rows) if row.cells[metric].best]

    def test_is_the_highest_or_the_lowest_or_none_depending_on_the_metric(self) -> None:
        assert self.best("svm/accuracy", 2, 3, 2) == [1]
        assert self.best("fid", 2, 1, 2) == [1]
        assert self.best("linear_probe/l2", 1, 2) == []

    @pytest.mark.parametrize(("metric", "sign"), [("svm/accuracy", 1), ("fid", -1)])
    def test_are_all_within_one_standard_error_of_the_difference_from_the_best(self, metric: str, sign: int) -> None:
        best = [52.0, 50.0, 48.0]  # standard error 2 / sqrt(3)
        within = [50.0 - sign * 1.63 + d for d in (-2, 0, 2)]  # of the difference: 2 sqrt(2 / 3) = 1.633
        beyond = [50.0 - sign * 1.64 + d for d in (-2, 0, 2)]
        steady = [50.0 - sign * 1.16] * 3  # standard error 0; of the difference: 1.155
        for order in permutations([(best, True), (within, True), (beyond, False), (steady, False)]):
            marked = self.best(metric, *(values for values, _ in order))
            assert marked == [i for i, (_, mark) in enumerate(order) if mark]

    def test_is_only_the_exact_best_where_one_of_the_two_has_one_seed(self) -> None:
        assert self.best("svm/accuracy", 90.04, 89.96, 90.04) == [0, 2]
        assert self.best("svm/accuracy", [91.0, 89.0], 89.9) == [0]
        assert self.best("svm/accuracy", 90.0, [90.9, 88.9]) == [0]

    def test_needs_two_rows_and_ignores_non_finite_values(self) -> None:
        assert self.best("svm/accuracy", 90) == []
        assert self.best("svm/accuracy", math.nan, 80) == [1]

    def test_is_of_one_target_and_never_a_paper(self) -> None:
        metrics = {"svm/accuracy": 80.0, "svm/accuracy_hair": 60.0}
        lower = {"svm/accuracy": 70.0, "svm/accuracy_hair": 50.0}
        reference = {"source": "s", "metrics": {"svm/accuracy_hair": 99.0}}
        (table,) = make_tables([record(metrics=metrics, reference=reference), record("vae", metrics=lower)])
        best = [(row.method, row.target) for row in table.rows if row.cells["svm/accuracy"].best]
        assert best == [("simvae", ""), ("simvae", "hair")]


class TestColumns:
    METRICS = dict.fromkeys(
        ["svm/accuracy", "svm/c", "knn_5/accuracy", "knn_1_euclidean/accuracy", "knn_200_exponential/accuracy",
         "kmeans/accuracy", "kmeans/nmi", "kmeans_sd/accuracy", "kmeans_best/accuracy", "gmm/log_likelihood", "fid",
         "kid", "fd_efficientnet_lite0", "reconstruction/mse", "rank/rankme"], 1.0,
    )  # fmt: skip

    def columns(self, *patterns: str, reference: object = None) -> list[str]:
        (table,) = make_tables([record(metrics=self.METRICS, reference=reference or {})], patterns)
        return list(table.columns)

    def test_are_the_plain_accuracies_and_the_frechet_distance_by_default(self) -> None:
        assert self.columns() == ["svm/accuracy", "knn_5/accuracy", "kmeans/accuracy", "fid", "fd_efficientnet_lite0"]

    def test_include_the_metrics_of_a_paper(self) -> None:
        assert "kmeans/nmi" in self.columns(reference={"source": "s", "metrics": {"kmeans/nmi": 0.5}})
        simvae_paper = {"source": "s", "metrics": {"knn_1_euclidean/accuracy": 42.8}}
        assert "knn_1_euclidean/accuracy" in self.columns(reference=simvae_paper)

    def test_are_what_patterns_choose(self) -> None:
        assert self.columns("svm/accuracy", "kmeans/*") == ["svm/accuracy", "kmeans/accuracy", "kmeans/nmi"]
        assert self.columns("*") == list(self.METRICS)

    def test_are_in_the_order_of_the_patterns(self) -> None:
        assert self.columns("kmeans/*", "svm/accuracy") == ["kmeans/accuracy", "kmeans/nmi", "svm/accuracy"]

    def test_are_costs_only_if_a_pattern_names_them(self) -> None:
        records = [record(seconds={"fit": 60.0, "svm": 2.0}, peak_memory_mb=500.0)]
        (table,) = make_tables(records, ("*",))
        assert list(table.columns) == ["knn_5/accuracy"]
        (table,) = make_tables(records, ("knn*", "seconds/*", "peak_memory_mb"))
        assert list(table.columns) == ["knn_5/accuracy", "seconds/fit", "seconds/svm", "peak_memory_mb"]
        (row,) = table.rows
        assert [cell.mean for cell in row.cells.values()] == [90.0, 60.0, 2.0, 500.0]

    def test_that_no_record_has_are_an_error_with_the_recorded_names(self) -> None:
        with pytest.raises(UserError, match=r"no metric matches svn/\*; recorded are fd_efficientnet_lite0, fid, gmm"):
            self.columns("svn/*")


class TestSorting:
    def methods(self, sort: str, *values: float | None) -> list[str]:
        """Names of the rows of methods a, b, ..., whose metric has these values, None for no value."""
        records = [
            record(name, metrics={} if value is None else {sort: value}, seconds={"fit": 1.0})
            for name, value in zip("abcd", values, strict=False)
        ]
        (table,) = make_tables(records, ("*", "seconds/fit"), sort)
        return [row.method for row in table.rows]

    def test_puts_the_best_first_and_rows_without_the_metric_last(self) -> None:
        assert self.methods("svm/accuracy", 80.0, None, 90.0, math.nan) == ["c", "a", "b", "d"]
        assert self.methods("fid", 80.0, None, 90.0, 5.0) == ["d", "a", "c", "b"]

    def test_is_by_costs_too(self) -> None:
        records = [record(name, seconds={"fit": time}) for name, time in (("a", 3.0), ("b", 1.0))]
        (table,) = make_tables(records, sort="seconds/fit")
        assert [row.method for row in table.rows] == ["b", "a"]

    def test_by_a_metric_that_no_record_has_is_an_error_with_the_nearest(self) -> None:
        with pytest.raises(UserError, match=r"--sort: no metric named 'svn/accuracy': did you mean svm/accuracy"):
            make_tables([record(metrics={"svm/accuracy": 1.0})], sort="svn/accuracy")


class TestTargets:
    @pytest.mark.parametrize(
        ("metric", "parts"),
        [
            ("knn_5/accuracy", ("knn_5/accuracy", "")),
            ("svm/accuracy_5_o_Clock_Shadow", ("svm/accuracy", "5_o_Clock_Shadow")),
            ("svm/accuracy_Black_Hair", ("svm/accuracy", "Black_Hair")),
            ("gmm/log_likelihood_Hair", ("gmm/log_likelihood", "Hair")),
            ("gmm/log_likelihood", ("gmm/log_likelihood", "")),
            ("linear_probe/weight_decay_Hair", ("linear_probe/weight_decay", "Hair")),
            ("inception_score", ("inception_score", "")),
            ("fd_Hair", ("fd_Hair", "")),
        ],
    )
    @pytest.mark.parametrize("old", [False, True], ids=["named", "not named by an old record"])
    def test_are_separated_from_metrics_of_several_words(self, metric: str, parts: tuple[str, str], old: bool) -> None:
        names = ["Hair", "Black_Hair", "5_o_Clock_Shadow"]
        accuracies = {f"svm/accuracy_{name}": 1.0 for name in names}
        targets = known_targets([record(metrics=accuracies, targets=[] if old else names)])
        assert split_name(metric, targets) == parts

    def test_are_rows_where_the_paper_names_them(self) -> None:
        metrics = {"knn_5/accuracy": 80.0, "knn_5/accuracy_gender": 85.0, "knn_5/accuracy_Bald": 99.0}
        reference = {"source": "s", "metrics": {"knn_5/accuracy_gender": 87.1}}
        (table,) = make_tables([record(metrics=metrics, reference=reference)])
        assert [(row.target, row.cells["knn_5/accuracy"].mean) for row in table.rows] == [
            ("", 80.0), ("gender", 85.0), ("gender", 87.1)
        ]  # fmt: skip
        assert table.has_targets

    def test_are_chosen_by_patterns_too(self) -> None:
        metrics = {"knn_5/accuracy": 80.0, "knn_5/accuracy_gender": 85.0, "svm/accuracy_gender": 99.0}
        (table,) = make_tables([record(metrics=metrics)], ("knn_5/*",))
        assert [row.target for row in table.rows] == ["", "gender"]
        assert list(table.columns) == ["knn_5/accuracy"]


class TestReading:
    def test_finds_run_folders_and_folders_of_them_each_once(self, tmp_path: Path) -> None:
        for seed in range(2):
            (tmp_path / f"run{seed}").mkdir()
            record(seed=seed).write(tmp_path / f"run{seed}")
        assert len(read_records([tmp_path])) == 2
        assert len(read_records([tmp_path / "run0", tmp_path / "run1"])) == 2
        assert len(read_records([tmp_path / "run0", tmp_path])) == 2
        with pytest.raises(UserError, match=r"no metrics\.json in .*nowhere"):
            read_records([tmp_path / "nowhere"])

    def test_of_the_command_line_prints_the_chosen_metrics_and_format(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        record(metrics={"svm/accuracy": 91.5, "svm/c": 1.0}).write(tmp_path)
        assert main(["table", str(tmp_path), "--format", "csv", "--metrics", "svm/*"]) == 0
        assert capsys.readouterr().out.splitlines()[1] == "digits,simvae,2,1,,91.5,,1.0,"


def test_a_run_that_is_deleted_while_the_table_is_made_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        record(name).write(tmp_path / name)
    read = Record.read

    def delete_first(folder: Path) -> Record:
        (tmp_path / "a" / "metrics.json").unlink(missing_ok=True)
        return read(folder)

    monkeypatch.setattr(Record, "read", delete_first)
    assert [found.method for found in read_records([tmp_path])] == ["b"]


class TestProtocolVersions:
    """Metrics of different versions or settings of a protocol are not averaged, and noted where rows have them."""

    def notes(self, *scored: str) -> list[str]:
        metrics = {"knn_5/accuracy": 90.0}
        records = [record(f"m{i}", metrics=metrics, scored={"knn_5/accuracy": one}) for i, one in enumerate(scored)]
        (table,) = make_tables(records)
        return [note for note in table.notes if "not comparable" in note]

    def test_that_are_equal_have_no_note(self) -> None:
        assert self.notes("knn v1 1a2b3c4d abc", "knn v1 1a2b3c4d def") == []

    @pytest.mark.parametrize(
        ("other", "text"),
        [
            ("knn v2 1a2b3c4d abc", "version 2, settings 1a2b3c4d"),
            ("knn 1a2b3c4d abc", "version before 1, settings 1a2b3c4d"),
            ("knn v1 ffffffff abc", "version 1, settings ffffffff"),
        ],
    )
    def test_that_differ_are_noted(self, other: str, text: str) -> None:
        assert self.notes("knn v1 1a2b3c4d abc", other) == [
            f"knn: not comparable, because versions or settings differ: m0 (version 1, settings 1a2b3c4d); m1 ({text})"
        ]

    def test_of_different_metrics_of_a_run_may_differ(self) -> None:
        scored = {"knn_5/accuracy": "knn v1 a b", "knn_1/accuracy": "knn v1 c b"}
        (table,) = make_tables([record("m", metrics=dict.fromkeys(scored, 90.0), scored=scored)])
        assert not [note for note in table.notes if "not comparable" in note]

    def test_that_differ_are_not_averaged(self) -> None:
        records = [
            record("m", seed=seed, metrics={"knn_5/accuracy": 90.0}, scored={"knn_5/accuracy": f"knn v{seed} a b"})
            for seed in (1, 2)
        ]
        (table,) = make_tables(records)
        assert [row.seeds for row in table.rows] == [1, 1]
