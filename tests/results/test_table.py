"""Tables: averages, columns, best values, targets, and every format."""

import csv
import re
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from ssl_bench.cli import main
from ssl_bench.errors import UserError
from ssl_bench.results.formats import FORMATS, print_table
from ssl_bench.results.record import Record
from ssl_bench.results.table import (
    average,
    higher_is_better,
    known_targets,
    make_tables,
    number_format,
    read_records,
    split_name,
)
from ssl_bench.runs.arguments import command_line


def record(method: str = "simvae", seed: int = 0, setting: str = "a", **changes: object) -> Record:
    known = {"data": "digits", "epochs": 2, "config_hash": f"{setting}{seed}", "setting_hash": setting, "commit": None,
             "command": "ssl-bench bench", "device": "cpu", "metrics": {"knn_5/accuracy": 90.0}}  # fmt: skip
    return Record(method=method, seed=seed, **(known | changes))  # type: ignore[arg-type]


def printed(*records: Record, format: str = "terminal", metrics: tuple[str, ...] = (), width: int = 120) -> str:
    console = Console(width=width, record=True, file=StringIO(), force_terminal=True)
    print_table(records, format, metrics, console)
    return console.export_text(styles=format == "terminal")


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", text)


CELL = {
    "terminal": ("92.0 ± 1.2", "\x1b[1m{}\x1b[0m"),
    "markdown": ("92.0 ± 1.2", "**{}**"),
    "latex": (r"92.0 $\pm$ 1.2", r"\textbf{{{}}}"),
}
"""Mean and standard error of 90, 92 and 94 (sd 2 over sqrt(3)) in each format, and how the best looks."""
SEEDS = [record(seed=seed, metrics={"svm/accuracy": 90.0 + 2 * seed}) for seed in range(3)]
WORSE = [record("vae", seed=seed, metrics={"svm/accuracy": 80.0 + 2 * seed}) for seed in range(3)]


class TestAveraging:
    def test_standard_error_is_the_sample_deviation_over_the_root_of_the_number_of_seeds(self) -> None:
        cell = average([90.0, 92.0, 94.0])
        assert (cell.mean, cell.n) == (92.0, 3)
        assert cell.se == pytest.approx(2 / 3**0.5, rel=1e-12)
        assert average([90.0]).se is None

    @pytest.mark.parametrize(
        "other",
        [
            {"setting": "b"},
            {"commit": "c0ffee"},
            {"epochs": 3},
            {"data": "mnist"},
            {"scored": {"knn_5/accuracy": "knn 1a2b3c4d c0ffee"}},  # by other settings of its protocol, or later
        ],
    )
    def test_runs_that_differ_in_more_than_the_seed_are_never_averaged(self, other: dict[str, object]) -> None:
        tables = make_tables([record(), record(seed=1, **other)])  # type: ignore[arg-type]
        assert [row.seeds for table in tables for row in table.rows] == [1, 1]

    def test_rows_of_one_method_show_their_difference(self) -> None:
        commits = "0123456789", "0123456789-dirty", "fedcba9876"
        (table,) = make_tables(record(commit=commit) for commit in commits)
        assert [row.method for row in table.rows] == ["simvae a 0123456", "simvae a 0123456-dirty", "simvae a fedcba9"]

    def test_one_seed_recorded_twice_is_one_sample(self) -> None:
        (table,) = make_tables([record(), record()])
        assert [row.seeds for row in table.rows] == [1]
        assert table.notes == ["simvae on digits, seed 0, a0: recorded more than once and counted once"]

    @pytest.mark.parametrize("format", CELL)
    def test_a_metric_that_some_seeds_lack_shows_the_number_of_seeds(self, format: str) -> None:
        assert "(n=2)" in printed(*SEEDS[:2], record(seed=7, metrics={"knn_1/accuracy": 1.0}), format=format)


class TestEveryFormat:
    def test_is_offered_on_the_command_line(self) -> None:
        for format in FORMATS:
            assert command_line().parse_args(["table", "--format", format]).format == format

    @pytest.mark.parametrize("format", CELL)
    def test_shows_mean_and_standard_error_and_the_best_in_bold(self, format: str) -> None:
        shown, bold = CELL[format]
        text = printed(*SEEDS, *WORSE, format=format)
        assert bold.format(shown) in text
        assert shown.replace("92", "82") in plain(text)
        assert bold.format(shown.replace("92", "82")) not in text

    def test_csv_reads_back_in_full_precision(self) -> None:
        rows = list(csv.DictReader(StringIO(printed(*SEEDS, *WORSE, format="csv"))))
        assert list(rows[0]) == ["data", "method", "epochs", "seeds", "target", "svm/accuracy", "svm/accuracy_se"]
        assert [row["method"] for row in rows] == ["simvae", "vae"]
        assert [float(row["svm/accuracy"]) for row in rows] == [92.0, 82.0]
        assert float(rows[0]["svm/accuracy_se"]) == average([90.0, 92.0, 94.0]).se

    def test_csv_holds_every_data_set_and_nothing_but_the_table(self, capsys: pytest.CaptureFixture[str]) -> None:
        text = printed(record(), record(data="mnist", metrics={"fid": 3.0}, failed={"knn": "why"}), format="csv")
        assert text.splitlines() == [
            "data,method,epochs,seeds,target,knn_5/accuracy,knn_5/accuracy_se,fid,fid_se",
            "digits,simvae,2,1,,90.0,,,",
            "mnist,simvae,2,1,,,,3.0,",
        ]
        assert "mnist: simvae on mnist, seed 0, a0: knn failed: why" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("format", "shown"),
        [
            ("terminal", "a_b|c&d%e#f[g]"),
            ("markdown", r"a\_b\|c\&d%e\#f\[g\]"),
            ("latex", r"a\_b|c\&d\%e\#f[g]"),
            ("csv", "a_b|c&d%e#f[g]"),
        ],
    )
    def test_escapes_its_special_characters(self, format: str, shown: str) -> None:
        assert f"{shown}" in plain(printed(record("a_b|c&d%e#f[g]"), format=format))

    @pytest.mark.parametrize("format", CELL)
    def test_has_notes_on_failures_targets_left_out_and_papers(self, format: str) -> None:
        reference = {"source": "Table 1", "metrics": {"knn_5/accuracy": 84.0}}
        text = printed(
            record(failed={"gmm": "no such thing"}, skipped_targets=["Bald"], reference=reference),
            *(record(seed=seed, notes={"knn": "knn: k = 200 left out"}) for seed in (1, 2)),
            format=format,
        )
        assert text.count("simvae on digits: knn: k = 200 left out") == 1
        excluded = "skipped targets, excluded from all means: Bald"
        for note in ("simvae on digits, seed 0, a0: gmm failed: no such thing", excluded, "paper: Table 1"):
            assert note in text

    @pytest.mark.parametrize("format", FORMATS)
    def test_values_of_papers_are_below_recorded_settings(self, format: str) -> None:
        reference = {"source": "Table 1", "metrics": {"knn_5/accuracy": 84.0, "gmm/accuracy": 69.9}}
        lines = plain(printed(record(reference=reference), format=format)).splitlines()
        (ours,) = (i for i, line in enumerate(lines) if "simvae" in line and "90.0" in line)
        (paper,) = (i for i, line in enumerate(lines) if "simvae (paper)" in line)
        assert paper > ours
        assert "84.0" in lines[paper]
        assert "69.9" not in lines[paper]  # no recorded setting has this metric

    def test_latex_rows_have_as_many_cells_as_the_table_has_columns(self) -> None:
        lines = printed(*SEEDS, *WORSE, format="latex").splitlines()
        (alignment,) = re.findall(r"\\begin\{tabular\}\{([lr]+)\}", lines[1])
        rows = [line for line in lines if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(alignment)}

    def test_markdown_rows_have_as_many_cells_as_the_table_has_columns(self) -> None:
        rows = [line for line in printed(*SEEDS, *WORSE, format="markdown").splitlines() if line.startswith("|")]
        assert len(rows) == 4
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1


class TestBest:
    def best(self, metric: str, *values: float) -> list[float]:
        records = [record(f"m{i}", metrics={metric: value}) for i, value in enumerate(values)]
        (table,) = make_tables(records, ("*",))
        return [row.cells[metric].mean for row in table.rows if row.cells[metric].best]

    @pytest.mark.parametrize(
        ("metric", "value"),
        [
            ("svm/accuracy", 3),
            ("kmeans_best/nmi", 3),
            ("inception_score", 3),
            ("reconstruction/mse", 1),
            ("fid", 1),
            ("kid", 1),
            ("fd_efficientnet_lite0", 1),
            ("kd_efficientnet_lite0", 1),
            ("inception_score_efficientnet_lite0", 3),
        ],
    )
    def test_is_the_highest_or_the_lowest_depending_on_the_metric(self, metric: str, value: float) -> None:
        assert self.best(metric, 2, value, 2) == [value]

    @pytest.mark.parametrize("metric", ["linear_probe/l2", "gmm/log_likelihood", "kmeans_sd/accuracy", "my/metric"])
    def test_is_none_if_neither_direction_is_better(self, metric: str) -> None:
        assert higher_is_better(metric) is None
        assert self.best(metric, 1, 2) == []

    def test_is_every_value_with_the_same_digits(self) -> None:
        assert self.best("svm/accuracy", 90.04, 89.96, 80) == [90.04, 89.96]

    def test_needs_two_rows_and_ignores_non_finite_values(self) -> None:
        assert self.best("svm/accuracy", 90) == []
        assert self.best("svm/accuracy", float("nan"), 80) == [80]

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

    def test_that_no_record_has_are_an_error_with_the_recorded_names(self) -> None:
        with pytest.raises(UserError, match=r"no metric matches svn/\*; recorded are fd_efficientnet_lite0, fid, gmm"):
            self.columns("svn/*")

    @pytest.mark.parametrize("width", [50, 80, 140])
    def test_that_do_not_fit_are_in_a_table_below_and_no_number_is_cut(self, width: int) -> None:
        metrics = {f"knn_{k}/accuracy": 10 + k + 0.5 for k in range(20)}
        text = plain(printed(record("a_method_with_a_rather_long_name", metrics=metrics), width=width))
        assert max(map(len, text.splitlines())) <= width
        assert all(f"knn_{k} " in text and f"{value:.1f}" in text for k, value in enumerate(metrics.values()))
        assert text.count("digits: accuracies in %") == -(-20 // text.splitlines()[2].count("knn"))

    @pytest.mark.parametrize(
        ("values", "spec"),
        [([85.1, 100.0], ".1f"), ([0.0123, 0.0005], ".4f"), ([3.2, 0.1], ".2f"), ([1e-6, 1.0], ".3g"), ([0.0], ".1f")],
    )
    def test_have_three_digits_of_their_largest_number(self, values: list[float], spec: str) -> None:
        assert number_format(values) == spec


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
