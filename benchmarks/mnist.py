"""MAE and DDPM on MNIST with narrow networks: scores, and figures of what the networks have learned.

    python benchmarks/mnist.py            print the table (the data are downloaded to --data.root)
    python benchmarks/mnist.py --write    also write table and figures to benchmarks/results

The methods are `ssl-bench bench --experiment mae-mnist-narrow` and `ddpm-mnist-narrow`, each beside its untrained
network. The features of DDPM are also scored by the protocol `noise_probe`, and its samples after every epoch by the
Frechet distance with features of EfficientNet-Lite0. Keys of the configuration are flags here, too. Runs that exist in
--out are not repeated.
"""

import argparse
import re
from pathlib import Path

import torch
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import imread

from benchmarks.baselines import run
from benchmarks.rounds import provenance, write
from ssl_bench.files import replacing
from ssl_bench.methods.checkpoint import load_method
from ssl_bench.methods.ddpm import DDPM
from ssl_bench.plots.primitives import canvas, save, show_row
from ssl_bench.plots.run import distance_label
from ssl_bench.results.record import Record
from ssl_bench.results.training_log import read_log

RESULTS = Path(__file__).parent / "results"
CURVE = ["--curve.every=1", "--curve.images=500", "--evaluation.generation.extractor=efficientnet_lite0"]
FLAGS = {
    "mae": ["--evaluation.protocols=[linear_probe,knn]"],
    "ddpm": ["--evaluation.protocols=[linear_probe,knn,noise_probe]"],
}
COLUMNS = {"linear probe": "linear_probe/accuracy", "5-NN": "knn_5/accuracy"}
IMAGES, SHOWN = 8, 6
"""Number of images of the trajectory, and of its steps that are shown."""


def table(records: dict[str, Record]) -> str:
    """Markdown table of accuracies and seconds of training."""
    lines = ["| network | " + " | ".join(COLUMNS) + " | seconds of training |", "|---" * (len(COLUMNS) + 2) + "|"]
    for name, record in records.items():
        accuracies = " | ".join(f"{record.metrics[metric]:.1f}" for metric in COLUMNS.values())
        lines.append(f"| {name} | {accuracies} | {record.seconds.get('fit', 0):.0f} |")
    return "\n".join(lines)


def noise_curves(metrics: dict[str, float]) -> dict[int, list[tuple[int, float]]]:
    """Noise t and accuracy of every block, from the metrics of `noise_probe`."""
    curves: dict[int, list[tuple[int, float]]] = {}
    for name, value in metrics.items():
        if found := re.fullmatch(r"noise_probe_(\d+)_(\d+)/accuracy", name):
            curves.setdefault(int(found[2]), []).append((int(found[1]), value))
    return {layer: sorted(points) for layer, points in sorted(curves.items())}


def show_samples(folder: Path, part: SubFigure) -> None:
    """Samples from the same noise after the first, a middle and the last epoch."""
    grids = sorted((folder / "figures").glob("samples_epoch*.png"))
    chosen = [grids[0], grids[len(grids) // 2 - 1], grids[-1]]
    for path, ax in zip(chosen, part.subplots(1, 3), strict=True):
        ax.imshow(imread(path))
        ax.set_title(f"samples after epoch {int(path.stem[-4:])}", fontsize=9)
        ax.axis("off")


def show_trajectory(method: DDPM, part: SubFigure) -> None:
    """Images of some steps of sampling, from noise to samples."""
    with torch.no_grad():
        steps = list(method.trajectory(IMAGES, torch.Generator().manual_seed(0)))
    last = len(steps) - 1
    numbers = [round(last * i / (SHOWN - 1)) for i in range(SHOWN)]
    for number, ax in zip(numbers, part.subplots(SHOWN, 1), strict=True):
        show_row((steps[number] + 1) / 2, f"step {number} of {last}", ax)


def show_curves(folder: Path, part: SubFigure) -> None:
    """Linear probe of every block against t, and the Frechet distance of samples against the step."""
    probe, distance = part.subplots(1, 2)
    for layer, points in noise_curves(Record.read(folder).metrics).items():
        probe.plot(*zip(*points, strict=True), marker=".", label=f"block {layer}")
    probe.set(xlabel="index t of the noise", ylabel="linear probe: accuracy on test in %")
    probe.legend(frameon=False, fontsize=8)
    for name, points in read_log(folder / "logs", "generation/").items():
        if name.startswith("fd_"):
            distance.plot(*zip(*points, strict=True), marker=".")
            distance.set(xlabel="step", ylabel=distance_label(name))
    distance.set_ylim(bottom=0)
    for ax in (probe, distance):
        ax.spines[["top", "right"]].set_visible(False)


def figure(folder: Path) -> Figure:
    """Samples, trajectory and curves of a run of DDPM."""
    method = load_method(folder)
    assert isinstance(method, DDPM)
    picture = canvas(9, 10.5)
    parts = picture.subfigures(3, 1, height_ratios=[3, 4, 3.2], squeeze=False)[:, 0]
    show_samples(folder, parts[0])
    show_trajectory(method, parts[1])
    show_curves(folder, parts[2])
    return picture


def main() -> None:
    """Train the missing runs, print the table and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of the run folders")
    parser.add_argument("--write", action="store_true")
    options, flags = parser.parse_known_args()
    origin = provenance()
    folders = {}
    for name, own in FLAGS.items():
        experiment, curve = f"{name}-mnist-narrow", CURVE if name == "ddpm" else []
        folders[f"{name}, untrained"] = run(experiment, [*own, *flags, "--trainer.max_epochs=0"], options.out)
        folders[name] = run(experiment, [*own, *curve, *flags], options.out)
    records = {name: Record.read(folder) for name, folder in folders.items()}
    chosen = records["ddpm"].metrics
    text = f"""# MAE and DDPM on MNIST with narrow networks

{origin}.

One seed; {records["mae"].epochs} epochs of MAE, {records["ddpm"].epochs} of DDPM. Accuracies of the test images in
percent. Seconds do not include the samples of the curve.

{table(records)}

`noise_probe` chose t = {chosen["noise_probe/t"]:.0f} and block {chosen["noise_probe/layer"]:.0f} on validation, with
{chosen["noise_probe/accuracy"]:.1f} % on test.
"""
    print(text)
    if options.write:
        save(figure(folders["ddpm"]), RESULTS / "mnist-ddpm.png")
        with replacing(RESULTS / "mnist-mae.png") as file:
            file.write_bytes((folders["mae"] / "figures" / "reconstructions.png").read_bytes())
        write(
            "mnist",
            f"{text}\n## DDPM\n\n![Samples, denoising and curves of DDPM](mnist-ddpm.png)\n\n"
            "## MAE\n\n![Test images of MNIST, masked and reconstructed](mnist-mae.png)\n",
        )


if __name__ == "__main__":
    main()
