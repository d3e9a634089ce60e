"""Formats of tables: terminal, Markdown, CSV and LaTeX."""

import csv
import re
from io import StringIO

import pytest

from ssl_bench.results.cells import average
from ssl_bench.results.formats import FORMATS
from ssl_bench.results.row_text import BOLD
from ssl_bench.runs.arguments import command_line
from tests.results.records import plain, printed, record

CELL = {
    "terminal": ("92.0 ± 1.2", "\x1b[1m{}\x1b[0m"),
    "markdown": ("92.0 ± 1.2", "**{}**"),
    "latex": (r"92.0 $\pm$ 1.2", r"\textbf{{{}}}"),
}
"""Mean and standard error of 90, 92 and 94 (sd 2 over sqrt(3)) in each format, and how the best looks."""
SEEDS = [record(seed=seed, metrics={"svm/accuracy": 90.0 + 2 * seed}) for seed in range(3)]
WORSE = [record("vae", seed=seed, metrics={"svm/accuracy": 80.0 + 2 * seed}) for seed in range(3)]


def test_is_offered_on_the_command_line() -> None:
    for format in FORMATS:
        assert command_line().parse_args(["table", "--format", format]).format == format


@pytest.mark.parametrize("format", CELL)
def test_shows_mean_and_standard_error_and_the_best_in_bold(format: str) -> None:
    shown, bold = CELL[format]
    text = printed(*SEEDS, *WORSE, format=format)
    assert bold.format(shown) in text
    assert shown.replace("92", "82") in plain(text)
    assert bold.format(shown.replace("92", "82")) not in text


def test_csv_reads_back_in_full_precision() -> None:
    rows = list(csv.DictReader(StringIO(printed(*SEEDS, *WORSE, format="csv"))))
    labels = ["data", "method", "epochs", "seeds", "target"]
    assert list(rows[0]) == [*labels, "svm/accuracy [%]", "svm/accuracy_se [%]"]
    assert [row["method"] for row in rows] == ["simvae", "vae"]
    assert [float(row["svm/accuracy [%]"]) for row in rows] == [92.0, 82.0]
    assert float(rows[0]["svm/accuracy_se [%]"]) == average([90.0, 92.0, 94.0]).se


def test_csv_holds_every_data_set_and_nothing_but_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(record(), record(data="mnist", metrics={"fid": 3.0}, failed={"knn": "why"}), format="csv")
    assert text.splitlines() == [
        "data,method,epochs,seeds,target,knn_5/accuracy [%],knn_5/accuracy_se [%],fid,fid_se",
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
def test_escapes_its_special_characters(format: str, shown: str) -> None:
    assert f"{shown}" in plain(printed(record("a_b|c&d%e#f[g]"), format=format))


@pytest.mark.parametrize("format", CELL)
def test_has_notes_on_failures_targets_left_out_and_papers(format: str) -> None:
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
def test_values_of_papers_are_below_recorded_settings(format: str) -> None:
    reference = {"source": "Table 1", "metrics": {"knn_5/accuracy": 84.0, "gmm/accuracy": 69.9}}
    lines = plain(printed(record(reference=reference), format=format)).splitlines()
    (ours,) = (i for i, line in enumerate(lines) if "simvae" in line and "90.0" in line)
    (paper,) = (i for i, line in enumerate(lines) if "simvae (paper)" in line)
    assert paper > ours
    assert "84.0" in lines[paper]
    assert "69.9" not in lines[paper]  # no recorded setting has this metric


def test_latex_rows_have_as_many_cells_as_the_table_has_columns() -> None:
    lines = printed(*SEEDS, *WORSE, format="latex").splitlines()
    (alignment,) = re.findall(r"\\begin\{tabular\}\{([lr]+)\}", lines[1])
    rows = [line for line in lines if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(alignment)}


def test_markdown_rows_have_as_many_cells_as_the_table_has_columns() -> None:
    rows = [line for line in printed(*SEEDS, *WORSE, format="markdown").splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1


@pytest.mark.parametrize("format", CELL)
def test_a_metric_that_some_seeds_lack_shows_the_number_of_seeds(format: str) -> None:
    assert "(n = 2)" in printed(*SEEDS[:2], record(seed=7, metrics={"knn_1/accuracy": 1.0}), format=format)


METRICS_OF_20 = {f"knn_{k}/accuracy": 10 + k + 0.5 for k in range(20)}


@pytest.mark.parametrize("width", [50, 80, 140])
def test_that_do_not_fit_are_in_a_table_below_and_no_number_is_cut(width: int) -> None:
    runs = [record("a_method_with_a_rather_long_name", setting=str(i), metrics=METRICS_OF_20) for i in range(9)]
    text = plain(printed(*runs, width=width))
    assert max(map(len, text.splitlines())) <= width
    assert all(f"knn_{k} " in text and f"{value:.1f}" in text for k, value in enumerate(METRICS_OF_20.values()))
    assert text.count("digits") == -(-20 // text.splitlines()[2].count("knn"))


@pytest.mark.parametrize("width", [60, 80])
def test_of_few_settings_that_do_not_fit_have_metrics_in_rows(width: int) -> None:
    runs = [record(name, metrics=METRICS_OF_20, epochs=7) for name in ("vae", "a_method_with_a_rather_long_name")]
    text = plain(printed(*runs, width=width))
    assert max(map(len, text.splitlines())) <= width
    assert text.count("digits") == 1
    assert re.search(r"epochs 7 +epochs 7 *\n", text)
    for name, value in METRICS_OF_20.items():
        assert re.search(rf"^ *{name} \[%\] +{value} +{value} *$", text, re.MULTILINE)


HEADINGS = {
    "terminal": [
        r"^ +svm +reconstruction",
        r"^ +linear_probe +accuracy +psnr",
        r"^ method +epochs +seeds +fid +l2 +\[%\] +\[dB\]",
    ],
    "markdown": [r"\| fid \| linear\\_probe/l2 \| svm/accuracy \\\[%\\\] \| reconstruction/psnr \\\[dB\\\] \|"],
    "csv": [r",fid,fid_se,linear_probe/l2,linear_probe/l2_se,svm/accuracy \[%\],svm/accuracy_se \[%\],"],
    "latex": [
        r"\{fid\}.*\{linear\\_probe \\\\ l2\}.*\{svm \\\\ accuracy \[\\%\]\}.*\{reconstruction \\\\ psnr \[dB\]\}"
    ],
}


@pytest.mark.parametrize("format", FORMATS)
def test_units_are_in_the_headings_of_their_columns_and_nowhere_else(format: str) -> None:
    metrics = dict.fromkeys(["fid", "linear_probe/l2", "svm/accuracy", "reconstruction/psnr"], 3.0)
    text = plain(printed(record(metrics=metrics), format=format, metrics=("*",)))
    for heading in HEADINGS[format]:
        assert re.search(heading, text, re.MULTILINE)
    assert len(re.findall(r"(?<!^)%", text, re.MULTILINE)) == (2 if format == "csv" else 1)


@pytest.mark.parametrize("format", FORMATS)
def test_a_note_says_what_bold_is_where_there_is_bold(format: str) -> None:
    assert (BOLD in printed(*SEEDS, *WORSE, format=format, width=150)) == (format in CELL)
    assert BOLD not in printed(*SEEDS, format=format, width=150)


@pytest.mark.parametrize("format", FORMATS)
def test_a_method_that_is_trained_with_labels_is_marked_and_the_papers_row_too(format: str) -> None:
    reference = {"source": "a paper", "metrics": {"knn_5/accuracy": 91.0}}
    text = plain(printed(record("supervised", uses_labels=True, reference=reference), record("vae"), format=format))
    assert text.count("supervised (trained with labels)") == 2
    assert text.count("(trained with labels)") == text.count("supervised")
