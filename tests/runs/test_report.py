"""`ssl-bench report`: the command."""

from pathlib import Path

import pytest
import yaml

from ssl_bench.catalogue import config_file, config_names
from ssl_bench.cli import main
from ssl_bench.results.paper_table import FAMILIES
from ssl_bench.results.report.run_pages import Change
from ssl_bench.runs.report import changed_settings, families
from ssl_bench.trust import import_class
from tests.results.records import record
from tests.results.report.runs import synthetic, write_runs


def test_the_page_of_a_folder_of_runs_is_written_and_its_path_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_runs(tmp_path / "runs", synthetic(10))
    out = tmp_path / "page.html"
    assert main(["report", str(tmp_path / "runs"), f"--out={out}"]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert "10 runs on" in out.read_text()


def test_without_names_it_is_that_of_the_folder_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_runs(tmp_path / "runs", synthetic(2))
    assert main(["report"]) == 0
    assert (tmp_path / "report.html").is_file()


def test_a_report_is_replaced_and_another_file_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_runs(tmp_path / "runs", synthetic(2))
    command = ["report", str(tmp_path / "runs"), f"--out={tmp_path / 'page.html'}"]
    assert [main(command), main(command)] == [0, 0]
    (tmp_path / "page.html").write_text("notes")
    capsys.readouterr()
    assert main(command) == 2
    assert "exists and is not a report of ssl-bench" in capsys.readouterr().err
    assert (tmp_path / "page.html").read_text() == "notes"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing"], "no metrics.json in "),
        (["damaged"], "metrics.json is not a readable record"),
        (["runs", "--out=runs"], "is a folder: give a file, such as "),
        (["runs", "--out=missing/page.html"], "there is no folder "),
        (["runs", "--format=pdf"], "unrecognized arguments: --format=pdf"),
    ],
)
def test_usage_errors_are_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_runs(tmp_path / "runs", synthetic(1))
    (tmp_path / "damaged" / "run").mkdir(parents=True)
    (tmp_path / "damaged" / "run" / "metrics.json").write_text("{")
    assert main(["report", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "report.html").exists()


def test_wandb_is_checked_before_the_page_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    write_runs(tmp_path / "runs", synthetic(1))
    assert main(["report", str(tmp_path / "runs"), f"--out={tmp_path / 'page.html'}", "--wandb"]) == 2
    assert "--wandb: wandb is not installed or is disabled" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def test_many_runs_are_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_runs(tmp_path / "runs", synthetic(120))
    assert main(["report", str(tmp_path / "runs"), f"--out={tmp_path / 'page.html'}"]) == 0
    assert capsys.readouterr().err == (
        "warning: 120 runs: pictures and maps are left out above 100; name fewer runs to see them\n"
    )


def test_the_settings_of_a_run_are_the_difference_from_the_defaults_of_its_method(tmp_path: Path) -> None:
    command = ["bench", "--method=vae", "--data=digits", "--epochs=0", "--method.beta=3", "--data.num_workers=1",
               "--evaluation.protocols=[knn]", f"--out={tmp_path}"]  # fmt: skip
    assert main(command) == 0
    (folder,) = tmp_path.iterdir()
    changes = changed_settings(record(folder=folder))
    assert changes is not None
    assert {change.key for change in changes} == {"method.beta", "trainer.max_epochs", "evaluation.protocols"}
    assert Change("method.beta", "3.0", "1.0") in changes


@pytest.mark.parametrize("content", ["", "[1]", yaml.safe_dump({"method": {}, "data": {}, "trainer": {}})])
def test_settings_are_not_known_without_a_usual_configuration(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(content)
    assert changed_settings(record(folder=tmp_path)) is None


@pytest.mark.parametrize("name", config_names("method"))
def test_the_family_of_a_method_is_read_from_its_source(name: str) -> None:
    path = yaml.safe_load(config_file("method", name).read_text())["method"]["class_path"]
    assert families()[name] == import_class(path).family in FAMILIES
