"""The page in a browser: its tables, plots and files, what it loads, and whether it is accessible.

These tests need Chromium and axe-core (``npm install axe-core``); elsewhere than in CI they are skipped without them.
"""

import csv
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ssl_bench.results.cells import average, is_best
from ssl_bench.results.record import Record
from ssl_bench.results.report.page import make_report, write_report
from ssl_bench.results.table import read_records
from tests.results.records import record
from tests.results.report.runs import FAMILIES, add_figures, scores, synthetic, write_runs

if "CI" not in os.environ:
    pytest.importorskip("playwright")
from playwright.sync_api import Browser, Dialog, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
AXE = Path(os.environ.get("AXE_CORE", "node_modules/axe-core")) / "axe.min.js"
IN_CI = "CI" in os.environ
HOSTILE = "<img src=x onerror=alert(1)>"
WIDTHS = [1400, 390]
PLACE = "cells => cells.findIndex(cell => cell.dataset.column === 'svm/accuracy')"
"""Place of a column, as JavaScript."""
SERIOUS = ("serious", "critical")

pytestmark = [
    pytest.mark.skipif(not CHROMIUM and not IN_CI, reason="needs chromium"),
    pytest.mark.xdist_group("browser"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


def records() -> list[Record]:
    """Fifty runs on two data sets, and two with several targets and layers, one of them with HTML in its name."""
    runs = list(synthetic(50))
    for i, method in enumerate(("vae", HOSTILE)):
        metrics = {f"svm/accuracy_{target}": 60.0 + 7 * i + j for j, target in enumerate(("gender", "hair", "Smiling"))}
        metrics |= {f"layer_probe_{n}/accuracy_gender": 50.0 + n for n in range(1, 4)}
        targets = ["gender", "hair", "Smiling"]
        runs.append(
            record(method, data="faces", targets=targets, metrics=metrics, seconds={"fit": 9.0}, setting=f"f{i}")
        )
    return runs


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    for place, path in enumerate(write_runs(folder / "runs", records())):
        if place < 10:
            add_figures(path, place)
    out = folder / "report.html"
    write_report(make_report(read_records([folder / "runs"]), out), out)
    return out


@pytest.fixture
def page(browser: Browser, report: Path) -> Iterator[Page]:
    """The page, opened from the disk. No error may be printed and no other file requested."""
    context = browser.new_context(viewport={"width": 1400, "height": 900}, accept_downloads=True)
    opened = context.new_page()
    errors: list[str] = []
    opened.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: errors.append(str(error)))

    def dismiss(dialog: Dialog) -> None:
        errors.append("a dialog")
        dialog.dismiss()

    opened.on("dialog", dismiss)
    requests: list[str] = []
    opened.on("request", lambda request: requests.append(request.url))
    opened.goto(report.as_uri())
    yield opened
    context.close()
    assert errors == []
    assert [url for url in requests if url != report.as_uri() and not url.startswith(("data:", "blob:"))] == []


def board(page: Page, data: str) -> Any:
    return page.locator(".board").filter(has=page.get_by_role("heading", name=data, exact=True))


def rows(page: Page, data: str) -> list[list[str]]:
    return [row.locator("th, td").all_inner_texts() for row in board(page, data).locator("tbody tr").all()]


def heading(page: Page, data: str, column: str) -> Any:
    return board(page, data).locator(f'th[data-column="{column}"]')


def test_a_heading_sorts_in_both_directions_by_mouse_and_keyboard(page: Page) -> None:
    sort = heading(page, "digits", "svm/accuracy")
    sort.get_by_role("button").click()
    assert heading(page, "digits", "svm/accuracy").get_attribute("aria-sort") == "descending"
    place = board(page, "digits").locator("thead th").evaluate_all(PLACE)
    values = [float(row[place].split(" ")[0]) for row in rows(page, "digits")]
    assert values == sorted(values, reverse=True)
    page.keyboard.press("Enter")  # the focus is still on the heading
    assert heading(page, "digits", "svm/accuracy").get_attribute("aria-sort") == "ascending"
    assert [float(row[place].split(" ")[0]) for row in rows(page, "digits")] == sorted(values)


def test_search_and_families_choose_the_rows(page: Page) -> None:
    assert len(rows(page, "digits")) == 5
    board(page, "digits").get_by_label("Search").fill("vae gener")
    assert {row[0].strip() for row in rows(page, "digits")} == {"vae", "simvae"}
    board(page, "digits").get_by_label("generative", exact=True).uncheck()
    assert rows(page, "digits") == []
    board(page, "digits").get_by_label("Search").fill("")
    assert {row[1] for row in rows(page, "digits")} == {"joint-embedding", "adversarial", "masked"}


def test_columns_are_chosen(page: Page) -> None:
    assert heading(page, "digits", "seconds/fit").count() == 0
    board(page, "digits").get_by_text("Columns", exact=True).first.click()
    board(page, "digits").get_by_label("seconds/fit [s]").check()
    board(page, "digits").get_by_label("gmm/accuracy [%]").uncheck()
    assert heading(page, "digits", "seconds/fit").count() == 1
    assert heading(page, "digits", "gmm/accuracy").count() == 0


def test_the_best_are_bold_and_named_in_a_sentence(page: Page) -> None:
    cells = {
        method: average([scores(method, seed, "digits")["svm/accuracy"] for seed in range(5)]) for method in FAMILIES
    }
    best = max(cells, key=lambda method: cells[method].mean)
    among = {method for method, cell in cells.items() if is_best(cell, cells[best])}
    heading(page, "digits", "svm/accuracy").get_by_role("button").click()
    place = board(page, "digits").locator("thead th").evaluate_all(PLACE)
    cell = f"tbody tr:has(td:nth-child({place + 1}) strong) th"
    assert {name.strip() for name in board(page, "digits").locator(cell).all_inner_texts()} == among
    assert board(page, "digits").locator(".summary").inner_text().startswith(f"Best by svm/accuracy: {best}, 20 epochs")


def test_the_csv_of_a_table_has_the_means_and_errors_of_the_records(page: Page, tmp_path: Path) -> None:
    with page.expect_download() as download:
        board(page, "digits").get_by_role("button", name="CSV of this table").click()
    download.value.save_as(tmp_path / "shown.csv")
    found = list(csv.DictReader((tmp_path / "shown.csv").open(encoding="utf-8")))
    assert {row["method"] for row in found} == {"simclr", "vae", "simvae", "ssgan", "mae"}
    for row in found:
        for metric in ("linear_probe/accuracy", "kmeans/accuracy"):
            expected = average([scores(row["method"], seed, "digits")[metric] for seed in range(int(row["seeds"]))])
            assert float(row[f"{metric} [%]"]) == pytest.approx(expected.mean, rel=1e-12)
            assert expected.se is not None
            assert float(row[f"{metric}_se [%]"]) == pytest.approx(expected.se, rel=1e-12)


def test_the_csv_of_runs_has_the_values_of_the_records_exactly(page: Page, tmp_path: Path) -> None:
    with page.expect_download() as download:
        board(page, "digits").get_by_role("button", name="CSV of its runs").click()
    download.value.save_as(tmp_path / "runs.csv")
    found = list(csv.DictReader((tmp_path / "runs.csv").open(encoding="utf-8")))
    assert len(found) == 25
    for row in found:
        assert float(row["svm/accuracy [%]"]) == scores(row["method"], int(row["seed"]), "digits")["svm/accuracy"]


def test_hovering_and_focusing_a_point_names_its_run(page: Page) -> None:
    point = page.locator('[data-plot="cost"] svg a').first
    label = point.get_attribute("aria-label") or ""
    point.hover()
    assert page.get_by_role("tooltip").inner_text().replace("\n", ", ") == label
    page.keyboard.press("Escape")
    assert page.get_by_role("tooltip").is_hidden()
    point.focus()
    assert page.get_by_role("tooltip").is_visible()
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector(':target')?.open")


def test_plots_follow_the_chosen_data_set(page: Page) -> None:
    visible = "sections => sections.filter(s => !s.hidden).map(s => s.dataset.plot)"
    chosen = page.locator("#plot-data select")
    chosen.select_option(label="digits")
    assert page.locator(".plot").evaluate_all(visible) == ["cost", "curves", "heat", "agreement", "maps"]
    chosen.select_option(label="faces")
    assert page.locator(".plot").evaluate_all(visible) == ["cost", "heat", "content", "layers"]


def test_names_with_html_are_text(page: Page) -> None:
    assert HOSTILE in {row[0].strip() for row in rows(page, "faces")}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_no_serious_fault_of_accessibility_and_no_page_wider_than_the_screen(
    page: Page, width: int, colours: Any
) -> None:
    if not AXE.is_file() and not IN_CI:
        pytest.skip("needs axe-core")
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=colours)
    board(page, "digits").get_by_text("Columns", exact=True).first.click()
    page.locator(".run summary").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    faults = [(one["id"], one["nodes"][0]["html"][:200]) for one in found["violations"] if one["impact"] in SERIOUS]
    assert faults == []
