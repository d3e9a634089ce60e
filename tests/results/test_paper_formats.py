"""Papers' tables as text: lines of the paper, of ours and of the difference, blocks that fit a width, four formats."""

import csv
import re
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from ssl_bench.results.cells import Cell
from ssl_bench.results.paper_formats import COLUMNS, PAPER_FORMATS, print_paper_tables
from ssl_bench.results.paper_layout import blocks
from ssl_bench.results.paper_table import Column, DataSet, Entry, Ours, PaperRow, PaperTable, Value
from ssl_bench.runs.arguments import command_line
from tests.results.records import plain

VAE = PaperRow(
    "vae", "VAE", "generative",
    {
        "mnist": Entry({"svm": Value(97.25, 0.1), "fid": Value(3.0)}, "vae-mnist", epochs=400, name="vae-mnist"),
        "cifar10": Entry({"svm": Value(24.0), "fid": Value(50.0, marked=True)}, "vae-cifar10", name="vae-cifar10"),
    },
    (11.5,),
)  # fmt: skip
DINO = PaperRow(
    "dino", "DINO", "joint-embedding", {"mnist": Entry({"svm": Value(98.5)}, epochs=400)}, (8.0,),
    "not yet an experiment",
)  # fmt: skip
TABLE = PaperTable(
    "paper_1", "A Paper (arXiv:1234.56789), Table 1", "Accuracy & FID.",
    {
        "mnist": DataSet("mnist", "MNIST", 400, 3),
        "cifar10": DataSet("cifar10", "CIFAR-10", 800, 3, note="half the images"),
    },
    {"svm": Column("svm", "SVM", "svm/accuracy", "C unknown"), "fid": Column("fid", "FID", "fid")},
    {"vae": VAE, "dino": DINO}, "standard error", ("parameters",), ("* a misprint",),
    missing={"missing runs": ["ssl-bench bench --experiment vae-cifar10 --seed 0"]},
)  # fmt: skip
OURS = {("vae", "mnist"): Ours(10, 3, {"svm": Cell(97.0, 0.25, 3), "fid": Cell(4.5, 0.5, 2)})}


def printed(table: PaperTable, format: str = "terminal", width: int = 120) -> str:
    console = Console(width=width, file=StringIO(), record=True, force_terminal=True)
    print_paper_tables([table], format, console)
    return plain(console.export_text())


def numbers(line: str) -> list[str]:
    """Texts of a line, without its label."""
    return re.split(r"  +", line.strip())[1:]


def test_every_format_is_offered_on_the_command_line() -> None:
    for format in PAPER_FORMATS:
        assert command_line().parse_args(["table", "--format", format]).format == format


def test_without_runs_a_row_has_the_papers_numbers_and_a_dash_for_ours() -> None:
    lines = printed(TABLE).splitlines()
    (vae,) = (place for place, line in enumerate(lines) if line.startswith("VAE"))
    assert numbers(lines[vae]) == ["11.5", "97.25 ± 0.10", "3.0", "24.0", "50.0*"]
    assert numbers(lines[vae + 1]) == ["-", "-", "-", "-"]
    assert lines[vae + 1].strip().startswith("ours")
    assert lines[vae + 2].startswith("DINO")


def test_with_runs_it_has_mean_and_standard_error_of_ours_and_the_difference() -> None:
    lines = printed(replace(TABLE, ours=OURS)).splitlines()
    (vae,) = (place for place, line in enumerate(lines) if line.startswith("VAE"))
    assert numbers(lines[vae]) == ["11.5", "400", "3", "97.25 ± 0.10", "3.0", "24.0", "50.0*"]
    assert numbers(lines[vae + 1]) == ["10", "3", "97.00 ± 0.25", "4.5 ± 0.5 (n = 2)", "-", "-"]
    assert numbers(lines[vae + 2]) == ["-0.25", "+1.5"]


def test_epochs_are_shown_only_if_they_are_not_the_papers() -> None:
    same = {("vae", "mnist"): replace(OURS["vae", "mnist"], epochs=400)}
    assert "epochs  n" in printed(replace(TABLE, ours=OURS))
    assert "epochs  n" not in printed(replace(TABLE, ours=same))
    assert re.search(r" n +SVM", printed(replace(TABLE, ours=same)))


def test_a_difference_of_zero_has_no_minus() -> None:
    ours = {("vae", "mnist"): Ours(400, 1, {"svm": Cell(97.249)})}
    assert "+0.00" in printed(replace(TABLE, ours=ours))


def test_a_row_that_only_the_paper_has_has_no_line_for_ours_and_a_note() -> None:
    text = printed(TABLE)
    assert text.count("  ours") == 1
    assert "only in the paper: DINO (not yet an experiment)" in text


@pytest.mark.parametrize("format", ["terminal", "markdown", "latex"])
def test_notes_and_commands_are_printed_once(format: str) -> None:
    text = printed(TABLE, format)
    for note in (
        "A Paper (arXiv:1234.56789), Table 1", "± is the standard error", "C unknown", "half the images", "a misprint",
        "400 epochs on MNIST, 800 epochs on CIFAR-10, 3 seeds", "ssl-bench bench --experiment vae-cifar10 --seed 0",
    ):  # fmt: skip
        assert text.replace("\\", "").count(note) == 1, note


@pytest.mark.parametrize("width", [30, 60, 80, 200])
def test_blocks_fit_the_width_and_no_number_is_cut(width: int) -> None:
    text = printed(replace(TABLE, ours=OURS, missing={}), width=width)
    assert max(map(len, text.splitlines())) <= width
    for number in ("97.25 ± 0.10", "97.00 ± 0.25", "-0.25", "50.0*", "11.5", "98.50", "8.0"):
        assert number in text


def test_data_sets_are_beside_each_other_as_far_as_they_fit() -> None:
    (wide,) = blocks(TABLE, 120)
    assert (wide.title, wide.data) == ("", ["mnist", "cifar10"])
    mnist, cifar10 = blocks(TABLE, 45)
    assert (mnist.title, cifar10.title) == ("MNIST", "CIFAR-10")
    assert [line.label.strip() for line in cifar10.lines] == ["VAE", "ours"]  # the paper has no row of DINO


def test_csv_has_a_line_for_every_cell_in_full_precision(capsys: pytest.CaptureFixture[str]) -> None:
    rows = list(csv.DictReader(StringIO(printed(replace(TABLE, ours=OURS), "csv"))))
    assert tuple(rows[0]) == COLUMNS
    assert [(row["row"], row["data"], row["column"]) for row in rows] == [
        ("vae", "mnist", "svm"), ("vae", "cifar10", "svm"), ("vae", "mnist", "fid"), ("vae", "cifar10", "fid"),
        ("dino", "mnist", "svm"), ("dino", "mnist", "fid"),
    ]  # fmt: skip
    first = rows[0]
    assert (first["paper"], first["paper_spread"], first["ours"], first["ours_se"]) == ("97.25", "0.1", "97.0", "0.25")
    assert (first["epochs"], first["n"], first["paper_epochs"], first["difference"]) == ("10", "3", "400", "-0.25")
    assert (first["metric"], first["unit"], first["experiment"]) == ("svm/accuracy", "%", "vae-mnist")
    assert "paper_1: * a misprint" in capsys.readouterr().err


def test_markdown_and_latex_rows_have_as_many_cells_as_the_table_has_columns() -> None:
    rows = [line for line in printed(replace(TABLE, ours=OURS), "markdown").splitlines() if line.startswith("|")]
    assert {row.count(" |") for row in rows} == {8}
    lines = printed(replace(TABLE, ours=OURS), "latex").splitlines()
    (alignment,) = (found[1] for line in lines if (found := re.match(r"\\begin\{tabular\}\{([lr]+)\}", line)))
    rows = [line for line in lines if line.endswith(r"\\") and "multicolumn" not in line]
    assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(alignment)}
    assert any(r"\textbf{97.00 $\pm$ 0.25}" in row for row in rows)
    assert any("$-$0.25" in row for row in rows)


@pytest.mark.parametrize(
    ("format", "caption"),
    [("terminal", "Accuracy & FID"), ("markdown", r"Accuracy \& FID"), ("latex", "% Accuracy & FID")],
)
def test_special_characters_are_escaped(format: str, caption: str) -> None:
    assert caption in printed(TABLE, format)


@pytest.mark.parametrize("format", PAPER_FORMATS)
def test_a_method_that_is_trained_with_labels_is_marked(format: str) -> None:
    row = PaperRow("supervised", "Supervised", "supervised", DINO.entries, DINO.properties)
    text = printed(replace(TABLE, rows={"vae": VAE, "supervised": row}), format)
    assert "Supervised (trained with labels)" in text
    assert "VAE (trained with labels)" not in text
