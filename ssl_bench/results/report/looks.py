"""Pictures of runs for the page: reduced copies of their figures, and their aligned two-dimensional maps."""

import base64
import io
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ssl_bench.results.report.alignment import Points, normalized, procrustes

KINDS = {
    "samples": "samples", "reconstructions": "test images and their reconstructions",
    "views": "test images and their views", "neighbours": "test images and their nearest training images",
    "memorisation": "samples and their nearest training images", "interpolation": "interpolated samples",
    "confusion": "classes and clusters", "classes": "accuracies of classes", "map": "maps of the features",
}  # fmt: skip
"""Figures that are shown side by side, by the names of their files."""
MAX_WIDTH, MIN_WIDTH, QUALITY = 420, 120, 60
"""Widths of reduced pictures in pixels, and their WebP quality."""
BYTES = 1_000_000
"""Size of all reduced pictures together, before base64."""
BITS_PER_PIXEL = 1.3
"""Size of typical pictures at this quality, with which the first width is chosen."""
ATTEMPTS = 3
"""Most widths that are tried until the pictures are small enough."""
MAX_POINTS = 400
"""Most points of a map."""
COLOUR = re.compile("#[0-9a-f]{6}")
"""Form of a colour."""
LEAST_SHARED = 3
"""Least number of shared images for an alignment."""
GRID, REACH = 1000, 3
"""Coordinates of maps are integers from -GRID to GRID, the place REACH, in units in which the mean square is 1."""


@dataclass(frozen=True)
class Picture:
    """A reduced picture.

    Attributes:
        kind: a name in `KINDS`.
        run: place of the run in the list of all records.
        source: content, as a data URL.
        link: relative URL of the full picture.
        size: width and height in pixels.
    """

    kind: str
    run: int
    source: str
    link: str
    size: tuple[int, int]


@dataclass(frozen=True)
class Map:
    """Features of test images in two dimensions.

    Attributes:
        run: place of the run in the list of all records.
        name: the projection, such as ``t-SNE``.
        points: x and y of each point, integers from -GRID to GRID.
        labels: label of each point; -1 for none.
        classes: names of the classes.
        colours: colour of each class, as in ``map.png``.
        target: name of the target of the labels.
        aligned: place of the run to whose map this one was aligned; None for that run itself, and for maps of other
            images.
    """

    run: int
    name: str
    points: list[tuple[int, int]]
    labels: list[int]
    classes: list[str]
    colours: list[str]
    target: str
    aligned: int | None


def reduced_pictures(folders: dict[int, Path], beside: Path, size: int = BYTES) -> list[Picture]:
    """Reduced copies of the figures of runs.

    Args:
        folders: run folders by the places of the runs.
        beside: folder of the page, from which links start.
        size: size of all pictures together, in bytes; the more pictures, the smaller they are.
    """
    files = [
        (kind, place, folder / "figures" / f"{kind}.png")
        for place, folder in folders.items()
        for kind in KINDS
        if (folder / "figures" / f"{kind}.png").is_file()
        and not (kind == "map" and (folder / "figures" / "map.json").is_file())  # which is plotted from its points
    ]
    if not files:
        return []
    width = (8 * size / len(files) / BITS_PER_PIXEL) ** 0.5
    for _ in range(ATTEMPTS):
        width = min(MAX_WIDTH, max(MIN_WIDTH, width))
        pictures = [one for file in files if (one := _picture(*file, beside, int(width)))]
        total = sum(3 * len(picture.source) // 4 for picture in pictures)
        if total <= size or width == MIN_WIDTH:
            break
        width *= 0.9 * (size / total) ** 0.5
    return pictures


def _picture(kind: str, place: int, file: Path, beside: Path, width: int) -> Picture | None:
    """A reduced picture; None if the file is damaged."""
    try:
        with Image.open(file) as image:
            small = _reduced(image, width)
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    content = io.BytesIO()
    small.save(content, "WEBP", quality=QUALITY)
    source = f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}"
    return Picture(kind, place, source, relative_url(file, beside), small.size)


def _reduced(image: Image.Image, width: int) -> Image.Image:
    """A picture in RGB of at most this width and 1.5 times this height."""
    factor = max(1, image.width // (2 * width))
    small = image.convert("RGB").reduce(factor)  # fast, before the accurate reduction
    small.thumbnail((width, width * 3 // 2))
    return small


def relative_url(file: Path, beside: Path) -> str:
    """Relative URL of a file from a folder."""
    return quote(Path(os.path.relpath(file, beside)).as_posix())


def aligned_maps(folders: dict[int, Path]) -> list[Map]:
    """Maps of runs, each aligned to that of the first run that has the same images and projection.

    Runs that share images have equal rows in ``figures/map.json``, because the rows are those of the test split.

    Args:
        folders: run folders by the places of the runs; all of one data set.
    """
    maps = []
    references: dict[str, tuple[int, NDArray[np.intp], Points]] = {}
    for place, folder in folders.items():
        known = _read_map(folder / "figures" / "map.json")
        if known is None:
            continue
        rows, labels, target, classes, colours, projections = known
        for name, points in projections.items():
            kind = name.partition(" (")[0]  # PCA has its share of the variance in the name
            every = np.arange(len(rows))
            own = normalized(points, every)
            first, reference_rows, reference = references.setdefault(kind, (place, rows, own))
            _, ours, theirs = np.intersect1d(rows, reference_rows, return_indices=True)
            same = first == place or len(ours) < LEAST_SHARED
            aligned = own if same else procrustes(points, reference, ours, theirs)
            # The same images of all runs, from the whole test split, whose images may be in the order of their classes.
            shown = np.argsort(rows, kind="stable")[:: -(-len(rows) // MAX_POINTS)]
            whole = np.clip(np.rint(aligned[shown] * GRID / REACH), -GRID, GRID).astype(int)
            pairs = [(int(x), int(y)) for x, y in whole]
            shown_labels = [int(labels[row]) for row in shown]
            maps.append(Map(place, name, pairs, shown_labels, classes, colours, target, None if same else first))
    return maps


KnownMap = tuple[NDArray[np.intp], NDArray[np.intp], str, list[str], list[str], dict[str, Points]]
"""Rows, labels, target, classes, their colours, and points by projection."""


def _read_map(file: Path) -> KnownMap | None:
    """The content of ``map.json``; None if it is missing or damaged."""
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
        rows, labels = (np.array(known[key], dtype=np.intp) for key in ("rows", "labels"))
        projections = {str(name): np.array(points, dtype=float) for name, points in known["maps"].items()}
        classes = [str(name) for name in known["classes"]]
        colours = [colour for colour in known["colours"] if COLOUR.fullmatch(colour)]
        fits = all(points.shape == (len(rows), 2) and np.isfinite(points).all() for points in projections.values())
        if not fits or rows.shape != labels.shape or len(classes) != len(colours) or not len(rows):
            return None
        return rows, labels, str(known["target"]), classes, colours, projections
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
