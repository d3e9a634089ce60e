"""Pictures of a run: what went in, what came out, how the loss fell, where the classes lie."""

import csv
import importlib.util
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ssl_bench.evaluation.features import Features
from ssl_bench.experiment import Run
from ssl_bench.files import replacing
from ssl_bench.methods.base import Generative, Reconstructive

SHOWN, MAPPED = 8, 5000


def draw(folder: Path, run: Run, features: Features, device: torch.device) -> list[Path]:
    """Draw every figure that applies, as PNG under ``figures/``; returns their paths.

    Random numbers are drawn apart from the run's, so that pictures change no result.
    """
    (folder / "figures").mkdir(exist_ok=True)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        figures: dict[str, Figure | None] = {
            "loss": loss_curves(folder / "logs"),
            "map": feature_map(features),
            **(image_sheets(run, device) if len(run.data.image_shape) == 3 else {}),
        }
    paths = []
    for name, figure in figures.items():
        if figure is not None:
            path = folder / "figures" / f"{name}.png"
            with replacing(path) as file:
                figure.savefig(file, format="png", dpi=150, bbox_inches="tight")
            plt.close(figure)
            paths.append(path)
    return paths


def loss_curves(logs: Path) -> Figure | None:
    """Every logged figure against the step; none where nothing was logged.

    A resumed run has a log for each session; what a session did after its last checkpoint was done again by the next.
    """
    rows: list[dict[str, str]] = []
    for file in sorted(logs.glob("*/metrics.csv"), key=lambda file: int(file.parent.name.removeprefix("version_"))):
        with file.open(encoding="utf-8") as lines:
            session = list(csv.DictReader(lines))
        rows = [row for row in rows if int(row["step"]) < int(session[0]["step"])] + session
    names = [name for name in (rows[0] if rows else ()) if name.startswith("train/")]
    if not names:
        return None
    figure, axes = plt.subplots(1, len(names), figsize=(3.2 * len(names), 2.6), squeeze=False, layout="constrained")
    for name, ax in zip(names, axes[0], strict=True):
        points = [(int(row["step"]), float(row[name])) for row in rows if row[name]]
        ax.plot(*zip(*points, strict=True), linewidth=1)
        ax.set(title=name.removeprefix("train/").replace("_", " "), xlabel="step")
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def feature_map(features: Features) -> Figure | None:
    """Test features in two dimensions coloured by class: PCA, and t-SNE beside it where openTSNE is installed."""
    x, target = features.test.features[:MAPPED], features.targets[0]
    labels = features.test.labels[:MAPPED].reshape(len(x), -1)[:, 0]
    if x.shape[1] < 2:
        return None
    centred = x - x.mean(0)
    maps = {"PCA": centred @ torch.linalg.svd(centred, full_matrices=False)[2][:2].mT}
    if importlib.util.find_spec("openTSNE"):
        import openTSNE

        maps["t-SNE"] = torch.from_numpy(openTSNE.TSNE(random_state=0).fit(x.numpy()).copy())
    few = len(target.classes) <= 10
    colours = plt.get_cmap("tab10" if few else "nipy_spectral")
    figure, axes = plt.subplots(1, len(maps), figsize=(5 * len(maps), 4.4), squeeze=False, layout="constrained")
    for (name, points), ax in zip(maps.items(), axes[0], strict=True):
        for label, class_name in enumerate(target.classes):
            chosen, shade = points[labels == label], colours(label if few else label / len(target.classes))
            ax.scatter(chosen[:, 0], chosen[:, 1], s=3, color=shade, label=class_name, linewidths=0)
        ax.set(title=f"test features, {name}, by {target.name}", xticks=[], yticks=[])
    if len(target.classes) <= 20:
        axes[0, -1].legend(markerscale=3, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def image_sheets(run: Run, device: torch.device) -> dict[str, Figure | None]:
    """Sheets of the first test images: their views, their reconstructions, and samples of the method."""
    images = next(iter(run.data.batches("test", SHOWN))).images.to(device)
    plain, views = run.views.plain(images), run.views(images)
    originals = run.views.to_image(plain)
    sheets: dict[str, Figure | None] = {
        "views": sheet([originals, *run.views.to_image(views)[:6]], ["image", *["view"] * 6])
    }
    if isinstance(run.method, Reconstructive):
        sheets["reconstructions"] = sheet([originals, run.method.reconstruct(plain)], ["image", "reconstruction"])
    if isinstance(run.method, Generative):
        sheets["samples"] = sheet(list(run.method.sample(SHOWN * SHOWN).split(SHOWN)), [""] * SHOWN)
    return sheets


def sheet(rows: list[Tensor], labels: list[str]) -> Figure:
    """Rows of images ``(n, C, H, W)`` in [0, 1], each with its label on the left."""
    figure, axes = plt.subplots(len(rows), 1, figsize=(SHOWN, len(rows)), squeeze=False, layout="constrained")
    for row, label, ax in zip(rows, labels, axes[:, 0], strict=False):
        show_row(row, label, ax)
    return figure


def show_row(row: Tensor, label: str, ax: Axes) -> None:
    """Images side by side with a pixel of white between them."""
    padded = torch.nn.functional.pad(row.clamp(0, 1).float().cpu(), (0, 1), value=1)
    strip = padded.permute(2, 0, 3, 1).flatten(1, 2)
    ax.imshow(strip.expand(-1, -1, 3).numpy(), interpolation="nearest", aspect="equal")
    ax.set(xticks=[], yticks=[])
    ax.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
    ax.spines[:].set_visible(False)
