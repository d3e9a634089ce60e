"""Build the report of recorded runs: one HTML file without external resources."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Any

from ssl_bench.errors import UserError
from ssl_bench.files import replacing
from ssl_bench.results.paper_layout import blocks, notes_of
from ssl_bench.results.paper_table import FAMILIES, PaperTable
from ssl_bench.results.record import Record
from ssl_bench.results.report.boards import OTHER, Board, make_boards, ranking_input
from ssl_bench.results.report.curves import read_curves
from ssl_bench.results.report.looks import KINDS, Map, Picture, aligned_maps, reduced_pictures
from ssl_bench.results.report.ranking import Ranking, rank
from ssl_bench.results.report.run_pages import Change, RunPage, run_page

FOLDER = Path(__file__).parent
SCRIPTS = ("common", "leaderboard", "chart", "plots")
MAX_PICTURED = 100
"""Most runs for which the page has pictures and maps."""
WIDE = 10_000
"""Width in characters in which every table of a paper fits."""
BYTES = 1_900_000
"""Size of the page with pictures, which have what the tables leave."""
LEAST_PICTURES = 300_000
"""Size that pictures have at least."""


GENERATOR = "ssl_bench report"
"""Mark of a page, so that no other file is overwritten."""
PLOTS = (
    ("cost", "Score against cost", "A point is a setting. It links to its run; seeds are averaged."),
    ("curves", "Training", "A line is a run. Accuracy is measured on the validation images; the loss is the mean over "
     "each epoch."),
    ("heat", "Methods and protocols", "The stronger the colour of a cell, the better its score in its column."),
    ("agreement", "Agreement between protocols", "Spearman's rank correlation over trained methods without labels, one "
     "setting of each: 1 if two protocols rank them alike, 0 if their ranks are unrelated. With few methods it is "
     "uncertain."),
    ("content", "Content and style", "The accuracy of one target against the mean accuracy of the other targets."),
    ("layers", "Layers", "Accuracy of the linear probe on each layer of the encoder."),
    ("maps", "Maps", "Features of the same test images in two dimensions. Each map is moved, scaled, rotated or "
     "reflected towards the first one (Procrustes). Relative distances within a map do not change."),
)  # fmt: skip
"""Names, titles and explanations of the plots."""


@dataclass(frozen=True)
class Report:
    """Content of the page.

    Attributes:
        boards: a leaderboard per data set.
        rankings: titles with rankings: over all data sets, and of each data set alone.
        epochs: numbers of epochs of each ranked method.
        ranking_notes: settings that are not ranked.
        papers: tables of papers with our scores.
        curves: curves of each run by the place of the run.
        pictures: reduced figures.
        maps: aligned maps.
        runs: a page per run.
        notes: what is missing on the page.
    """

    boards: list[Board]
    rankings: dict[str, Ranking]
    epochs: dict[str, str]
    ranking_notes: list[str]
    papers: list[PaperTable]
    curves: dict[int, dict[str, list[tuple[float, float]]]]
    pictures: list[Picture]
    maps: list[Map]
    runs: list[RunPage]
    notes: list[str] = field(default_factory=list)


def make_report(
    records: Sequence[Record],
    out: Path,
    papers: Sequence[PaperTable] = (),
    changes: Callable[[Record], list[Change] | None] = lambda record: None,
    families: Mapping[str, str] | None = None,
) -> Report:
    """The content of the page of some records.

    Args:
        records: records that were read from run folders.
        out: path of the page, from which links to pictures and run folders start.
        papers: tables of papers, with our scores where there are runs.
        changes: settings of a run that differ from the defaults of its method; None if they are not known.
        families: family of each method by its name, for records that do not have it.
    """
    records = list(records)
    boards = make_boards(records, families)
    known = ranking_input(boards)
    rankings = {boards[0].data if len(boards) == 1 else "all data sets": rank(known.scores)}
    if len(boards) > 1:
        for board in boards:
            alone = {method: {board.data: of[board.data]} for method, of in known.scores.items() if board.data in of}
            rankings[board.data] = rank(alone)
    folders = {place: record.folder for place, record in enumerate(records) if record.folder is not None}
    shown = {} if len(records) > MAX_PICTURED else {run: folders[run] for run in pictured(boards, folders)}
    notes = []
    if len(records) > MAX_PICTURED:
        notes.append(
            f"{len(records)} runs: pictures and maps are left out above {MAX_PICTURED}; name fewer runs to see them"
        )
    report = Report(
        boards,
        rankings,
        {method: " to ".join(map(str, sorted({min(epochs), max(epochs)}))) for method, epochs in known.epochs.items()},
        known.notes,
        [table for table in papers if table.ours],
        {place: curves for place, folder in folders.items() if (curves := read_curves(folder))},
        [],
        [
            one
            for board in boards
            for one in aligned_maps({run: shown[run] for row in board.rows for run in row.runs if run in shown})
        ],
        [run_page(place + 1, record, out.parent, changes(record)) for place, record in enumerate(records)],
        notes,
    )
    left = BYTES - len(render(report).encode())
    return replace(report, pictures=reduced_pictures(shown, out.parent, max(LEAST_PICTURES, left * 3 // 4)))


def pictured(boards: list[Board], folders: dict[int, Path]) -> list[int]:
    """Runs whose pictures are shown: of each setting the first with figures."""
    with_figures = {run for run, folder in folders.items() if (folder / "figures").is_dir()}
    chosen = [next((run for run in row.runs if run in with_figures), None) for board in boards for row in board.rows]
    return [run for run in chosen if run is not None]


def write_report(report: Report, out: Path) -> None:
    """Write the page atomically.

    Raises:
        UserError: the folder of the page does not exist or cannot be written.
    """
    text = render(report)
    try:
        with replacing(out) as file:
            file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"cannot write {out}: {error.strerror}: give a file in an existing folder with --out"
        ) from error


def render(report: Report) -> str:
    """The page as HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    files = FileSystemLoader(FOLDER)
    environment = Environment(loader=files, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    scripts = [(FOLDER / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    return environment.get_template("page.html").render(
        report=report,
        content=embedded(report),
        style=(FOLDER / "style.css").read_text(encoding="utf-8"),
        script="\n".join(scripts),
        version=version("ssl_bench"),
        generator=GENERATOR,
        kinds=KINDS,
        plots=PLOTS,
        pictures_of=partial(_pictures_of, report),
        tasks_of=_tasks_of,
        blocks=lambda table: blocks(table, WIDE),
        notes_of=notes_of,
    )


def _tasks_of(ranking: Ranking) -> dict[str, list[str]]:
    """Metrics of the tasks by data set."""
    found: dict[str, list[str]] = {}
    for data, metric in ranking.tasks:
        found.setdefault(data, []).append(metric)
    return found


def _pictures_of(report: Report, board: Board, kind: str) -> list[tuple[str, int, Picture]]:
    """Names of settings, places of runs and pictures of one kind, in the order of the leaderboard."""
    pictures = {picture.run: picture for picture in report.pictures if picture.kind == kind}
    return [(row.name, run, pictures[run]) for row in board.rows for run in row.runs if run in pictures]


def embedded(report: Report) -> str:
    """The values that the scripts of the page need, as JSON that cannot end its element."""
    content = {
        "families": [*FAMILIES, OTHER],
        "boards": [asdict(board) for board in report.boards],
        "runs": [{"title": run.title, "folder": run.folder} for run in report.runs],
        "curves": report.curves,
        "maps": [asdict(one) for one in report.maps],
    }
    text = json.dumps(_finite(content), separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _finite(value: Any) -> Any:
    """The value with NaN and infinities, which JSON does not have, replaced by their names."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not isfinite(value) else value
