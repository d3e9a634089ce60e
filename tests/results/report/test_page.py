"""The page as a file: its size, its speed, what is escaped, and what it never contains."""

import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ssl_bench.errors import UserError
from ssl_bench.results.report.page import GENERATOR, MAX_PICTURED, Report, embedded, make_report, render, write_report
from ssl_bench.results.table import read_records
from tests.results.records import record
from tests.results.report.runs import METRICS, synthetic, write_runs


def page(records: list, out: Path = Path("report.html")) -> str:  # type: ignore[type-arg]
    return render(make_report(records, out))


class Checker(HTMLParser):
    """Collects ids, links and elements, and checks that every element is closed."""

    VOID = {"meta", "link", "input", "img", "line", "circle", "path", "br"}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.urls: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src"):
                self.urls.append(value or "")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def checked(text: str) -> Checker:
    checker = Checker()
    checker.feed(text)
    checker.close()
    return checker


def test_fifty_runs_are_a_page_of_two_megabytes_in_five_seconds(tmp_path: Path) -> None:
    write_runs(tmp_path / "runs", synthetic(50), figures=True)
    start = time.process_time()  # other tests run at the same time
    out = tmp_path / "report.html"
    report = make_report(read_records([tmp_path / "runs"]), out)
    write_report(report, out)
    assert time.process_time() - start < 5
    assert out.stat().st_size < 2_000_000
    assert len(report.pictures) == 40  # four figures of the first seed of ten settings
    assert len(report.maps) == 10
    assert len(report.curves) == 50


def test_the_page_is_well_formed_and_its_links_have_targets(tmp_path: Path) -> None:
    write_runs(tmp_path, synthetic(20), figures=True)
    found = checked(page(read_records([tmp_path]), tmp_path / "report.html"))
    assert found.open == []
    assert len(found.ids) == len(set(found.ids))
    assert {url[1:] for url in found.urls if url.startswith("#")} <= set(found.ids)


def test_fifty_runs_with_many_targets_are_a_page_of_two_megabytes(tmp_path: Path) -> None:
    """As of CelebA, with 13 targets and all metrics."""
    targets = [f"Attribute_{i}" for i in range(13)]
    values = {
        f"{protocol}_{i}/accuracy_{target}": 61.234567 for protocol in METRICS for i in range(6) for target in targets
    }
    runs = [record(f"m{i}", setting=str(i), data="faces", targets=targets, metrics=values) for i in range(50)]
    write_runs(tmp_path / "runs", runs, figures=True)
    out = tmp_path / "report.html"
    write_report(make_report(read_records([tmp_path / "runs"]), out), out)
    assert out.stat().st_size < 2_000_000


def test_older_records_have_no_date_and_versions(tmp_path: Path) -> None:
    (folder,) = write_runs(tmp_path, [record()])
    content = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(
        json.dumps({k: v for k, v in content.items() if k not in ("date", "versions")})
    )
    text = page(read_records([tmp_path]))
    assert "<dt>date</dt>" not in text
    assert "<dt>versions</dt>" not in text


def test_the_page_loads_nothing() -> None:
    text = page(list(synthetic(10)))
    assert not [url for url in checked(text).urls if re.match(r"(\w+:)?//", url)]
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|new Image", text)


HOSTILE = '<script>alert("1")</script>'


@pytest.mark.parametrize("field", ["method", "data", "command", "commit", "family", "processor"])
def test_html_in_records_is_text(field: str) -> None:
    usual = checked(page([record()]))
    changes: dict[str, Any] = {field: HOSTILE, "failed": {HOSTILE: HOSTILE}, "notes": {HOSTILE: HOSTILE}}
    found = checked(page([record(**changes)]))
    assert found.tags.count("script") == usual.tags.count("script") == 2


def test_embedded_values_cannot_end_their_element() -> None:
    text = embedded(make_report([record("</script><!-- &", metrics={"</script>/accuracy": 1.0})], Path("report.html")))
    assert not set("<>&") & set(text)
    assert json.loads(text)["boards"][0]["rows"][0]["name"] == "</script><!-- &"


def test_scores_that_are_not_finite_are_valid_json() -> None:
    report = make_report([record(metrics={"svm/accuracy": float("nan"), "fid": float("inf")})], Path("report.html"))
    cells = json.loads(embedded(report))["boards"][0]["rows"][0]["cells"][""]
    assert (cells["svm/accuracy"][0], cells["fid"][0]) == ("nan", "inf")


def test_above_a_limit_there_are_no_pictures_and_the_page_says_so(tmp_path: Path) -> None:
    folders = write_runs(tmp_path, list(synthetic(MAX_PICTURED + 5)))
    from tests.results.report.runs import add_figures

    add_figures(folders[0], 0)
    report = make_report(read_records([tmp_path]), tmp_path / "report.html")
    assert (report.pictures, report.maps) == ([], [])
    assert f"{MAX_PICTURED + 5} runs: pictures and maps are left out above {MAX_PICTURED}" in render(report)


def test_runs_without_figures_are_stated() -> None:
    assert "No run folder has figures." in page([record()])


def test_the_run_page_has_what_its_record_has() -> None:
    text = page([record(command="ssl-bench bench --method simvae", commit="abc", seconds={"fit": 61.5, "knn": 0.2},
                        parameters=12345, failed={"svm": "no memory"}, notes={"knn": "k = 200 left out"})])  # fmt: skip
    for part in ("ssl-bench bench --method simvae", "abc", "training 61.5 s; knn 0.2 s", "12,345", "svm: no memory",
                 "knn: k = 200 left out", "1 failed"):  # fmt: skip
        assert part in text


def test_the_page_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "report.html"
    report = make_report([record()], out)
    write_report(report, out)
    before = out.read_text()
    assert GENERATOR in before[:1000]
    monkeypatch.setattr("ssl_bench.results.report.page.render", lambda report: "\udc80")  # cannot be encoded
    with pytest.raises(UnicodeEncodeError):
        write_report(report, out)
    assert out.read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_folder_that_does_not_exist_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write .*report\.html: No such file or directory"):
        write_report(Report([], {}, {}, [], [], {}, [], [], []), tmp_path / "missing" / "report.html")
