"""Baselines at narrow width: scores, and 5-NN of the validation images against epochs.

    python benchmarks/baselines.py --data.root cifar10-jpeg            print the table
    python benchmarks/baselines.py --data.root cifar10-jpeg --write    also write table and figure to benchmarks/results

Every method is `ssl-bench bench --experiment METHOD-parquet-narrow` with the same images, epochs and seed. Its
optimizer, heads and views are those of its experiment. All methods have the same backbone except MAE, a vision
transformer, and DDPM, a U-Net. The baselines beside them are the untrained networks and the backbone trained with
labels. Keys of the configuration are flags here, too, such as --data.fit_images N. Runs that exist in --out are not
repeated.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.rounds import provenance, write
from ssl_bench.cli import main as ssl_bench
from ssl_bench.config.identity import run_folder
from ssl_bench.config.resolve import resolve, to_dict
from ssl_bench.config.stack import stack
from ssl_bench.plots.primitives import canvas, save
from ssl_bench.results.record import Record
from ssl_bench.results.training_log import read_log

RESULTS = Path(__file__).parent / "results"
METHODS = (
    "simclr", "byol", "moco", "nnclr", "vicreg", "barlow_twins", "swav", "dino", "lejepa", "mae", "ddpm", "supervised"
)  # fmt: skip
OWN_NETWORK = ("mae", "ddpm")
"""Methods whose network is not the common backbone."""
COLUMNS = {"linear probe": "linear_probe/accuracy", "5-NN": "knn_5/accuracy", "k-means": "kmeans/accuracy"}
LABELS = {"supervised": "supervised (trained with labels)", "untrained": "untrained backbone"}
LABELS |= {f"untrained {name}": f"untrained network of {name}" for name in OWN_NETWORK}
Curve = list[tuple[int, float]]
"""Epochs and accuracies in percent."""


def run(experiment: str, arguments: Sequence[str], out: Path) -> Path:
    """Train and score an experiment, unless that run exists; the run folder.

    Raises:
        SystemExit: the command failed.
    """
    folder = run_folder(to_dict(resolve([*stack(None, None, experiment), *arguments])), out)
    if code := ssl_bench(["bench", "--experiment", experiment, *arguments, f"--out={out}"]):
        raise SystemExit(f"{experiment}: exit code {code}")
    return folder


def table(records: dict[str, Record]) -> str:
    """Markdown table of accuracies and seconds of training, best linear probe first."""
    lines = ["| method | " + " | ".join(COLUMNS) + " | seconds of training |", "|---" * (len(COLUMNS) + 2) + "|"]
    for name, record in sorted(records.items(), key=lambda item: -item[1].metrics["linear_probe/accuracy"]):
        cells = [f"{record.metrics[metric]:.1f}" for metric in COLUMNS.values()]
        seconds = f"{record.seconds['fit']:.0f}" if record.epochs else "-"
        lines.append(f"| {' | '.join([LABELS.get(name, name), *cells, seconds])} |")
    return "\n".join(lines)


def figure(curves: dict[str, Curve], title: str) -> Figure:
    """Figure of the accuracy against the epoch, one line per method, in the order of the last accuracies."""
    picture = canvas(7.5, 4.5)
    ax = picture.subplots()
    # Colours for colour-blind readers (Okabe & Ito 2008), with a different marker for each method.
    colours = (
        "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6D00", "#5A3E9B", "#7A7A7A", "#8B1A1A",
        "#00407A", "#000000",
    )  # fmt: skip
    styles = dict(zip(METHODS, zip(colours, "osv^Dx+*<>hP", strict=True), strict=True))
    for name, curve in sorted(curves.items(), key=lambda item: -item[1][-1][1]):
        colour, marker = styles[name]
        line = "--" if name == "supervised" else "-"
        ax.plot(
            *zip(*curve, strict=True), line, marker=marker, markersize=5, color=colour, label=LABELS.get(name, name)
        )
    ax.set(title=title, xlabel="epoch", ylabel="5-NN accuracy of the validation images in %")
    ax.grid(alpha=0.2)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, bbox_to_anchor=(1.02, 1), loc="upper left")
    return picture


def main() -> None:
    """Train the missing runs, print the table and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, metavar="NAME", help="default all")
    parser.add_argument("--epochs", type=int, help="default that of each experiment")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of the run folders")
    parser.add_argument("--write", action="store_true")
    options, flags = parser.parse_known_args()
    origin = provenance()
    flags += ["--evaluation.protocols=[linear_probe,knn,kmeans]"]
    epochs = [] if options.epochs is None else [f"--trainer.max_epochs={options.epochs}"]
    folders = {
        name: run(f"{name}-parquet-narrow", [*flags, *epochs, "--validation.every=1"], options.out)
        for name in options.methods
    }
    untrained = {"untrained": "simclr"} | {f"untrained {name}": name for name in OWN_NETWORK if name in options.methods}
    for label, name in untrained.items():
        folders[label] = run(f"{name}-parquet-narrow", [*flags, "--trainer.max_epochs=0"], options.out)
    records = {name: Record.read(folder) for name, folder in folders.items()}
    curves = {
        name: read_log(folders[name] / "logs", "validation/", "epoch")["knn_5/accuracy"] for name in options.methods
    }
    first = records[options.methods[0]]
    text = f"""# Baselines at narrow width

{origin}.

One seed, {first.epochs} epochs, the same backbone for all but MAE and DDPM. Accuracies of the test images in percent;
see [the protocols](../../ssl_bench/evaluation/README.md). Optimizer, heads and views are those of each experiment
`METHOD-parquet-narrow` and were not searched, so the order of methods that are close says little.

{table(records)}
"""
    print(text)
    if options.write:
        save(figure(curves, f"{first.data}, narrow networks, seed {first.seed}"), RESULTS / "baselines.png")
        write("baselines", f"{text}\n![5-NN accuracy of the validation images against epochs](baselines.png)\n")


if __name__ == "__main__":
    main()
