"""Learning-rate decay per epoch (EE) and per iteration (EI): Frechet distance of SSGAN's samples during training.

    python benchmarks/decay.py --experiment ssgan-mnist            print the table
    python benchmarks/decay.py --experiment ssgan-mnist --write    also write table and figure to benchmarks/results

Reproduces Figures 2 and 3 of "Self Supervised GANs via Auxiliary loss and Learning rate Decay" (Raj & Samala): the
learning rate is multiplied by the same gamma after every epoch (EE) or after every step (EI). With --same_total a third
run decays at every step by the factor that gives EE's decay over an epoch. Every run is `ssl-bench bench --experiment
...`; its flags are accepted here too, such as --epochs N, --curve.images N, and without a GPU
--evaluation.generation.extractor efficientnet_lite0. Runs that exist in --out are not repeated.
"""

import argparse
import statistics
from pathlib import Path
from typing import NamedTuple

import yaml
from matplotlib.figure import Figure

from benchmarks.rounds import provenance, write
from ssl_bench.cli import main as ssl_bench
from ssl_bench.config.identity import run_folder
from ssl_bench.config.resolve import resolve, to_dict
from ssl_bench.config.stack import stack
from ssl_bench.optim.schedule import Schedule
from ssl_bench.plots.primitives import canvas, save
from ssl_bench.plots.run import FRECHET_PREFIXES, distance_label
from ssl_bench.results.training_log import read_log

RESULTS = Path(__file__).parent / "results"


class Decay(NamedTuple):
    """A learning-rate decay.

    Attributes:
        kind: kind of the schedule.
        name: suffix of the run's name.
        colour: colour of its lines in the figure.
    """

    kind: str
    name: str
    colour: str


DECAYS = {
    "EE": Decay("exponential_epoch", "ee", "tab:blue"),
    "EI": Decay("exponential_step", "ei", "tab:orange"),
    "EI, same total": Decay("exponential", "ei_same_total", "tab:green"),
}
Curve = list[tuple[int, float]]
"""Steps and distances."""


def run(experiment: str, decay: Decay, seed: int, settings: list[str], out: Path) -> Path:
    """Train with a decay, unless that run exists, and return the run folder."""
    method, _, *variant = experiment.split("-")
    arguments = [
        f"--names.method={'-'.join([method, *variant, decay.name])}", f"--method.schedule.kind={decay.kind}",
        f"--seed={seed}", "--reference.source=", "--reference.metrics={}", *settings,
    ]  # fmt: skip
    if ssl_bench(["bench", "--experiment", experiment, *arguments, f"--out={out}"]) != 0:
        raise SystemExit("the run ended with an error")
    return run_folder(to_dict(resolve([*stack(None, None, experiment), *arguments])), out)


def curve(folder: Path) -> tuple[str, Curve]:
    """Name of the Frechet distance that a run logged, and its values."""
    curves = {
        name: one for name, one in read_log(folder / "logs", "generation/").items() if name.startswith(FRECHET_PREFIXES)
    }
    return next(iter(curves.items()))


def table(curves: dict[str, list[Curve]]) -> str:
    """Markdown table of the distance at every step, mean and standard deviation over seeds, and of start / end.

    Args:
        curves: for each decay, one curve per seed; all curves have the same steps.
    """
    steps = [step for step, _ in next(iter(curves.values()))[0]]
    values = {name: [[distance for _, distance in one] for one in seeds] for name, seeds in curves.items()}
    rows = [
        [f"{step:,}", *(spread([one[i] for one in seeds]) for seeds in values.values())] for i, step in enumerate(steps)
    ]
    rows += [["start / end", *(spread([one[0] / one[-1] for one in seeds]) for seeds in values.values())]]
    head = ["step", *curves]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


def spread(values: list[float]) -> str:
    """Mean, with the standard deviation if there are several values."""
    mean = f"{statistics.mean(values):.2f}"
    return f"{mean} ± {statistics.stdev(values):.2f}" if len(values) > 1 else mean


def figure(curves: dict[str, list[Curve]], distance: str, title: str) -> Figure:
    """Figure of the distance against the step, one line per seed and one colour per decay."""
    picture = canvas(6, 4)
    ax = picture.subplots()
    for name, seeds in curves.items():
        for seed, one in enumerate(seeds):
            label = name if seed == 0 else None
            ax.plot(*zip(*one, strict=True), marker=".", linewidth=1.2, color=DECAYS[name].colour, label=label)
    ax.set(title=title, xlabel="step (of the discriminator)", ylabel=distance, yscale="log")
    ax.grid(which="both", alpha=0.2)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, title="decay")
    return picture


def main() -> None:
    """Train the missing runs, print the table and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--experiment", default="ssgan-mnist")
    parser.add_argument("--gamma", type=float, default=0.99)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--same_total", action="store_true", help="add decay per step with the total decay of EE")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of the run folders")
    parser.add_argument("--write", action="store_true")
    options, flags = parser.parse_known_args()
    if options.seeds < 1:
        parser.error(f"--seeds {options.seeds}: give 1 or more")
    origin = provenance()
    settings = [
        f"--method.schedule.gamma={options.gamma}", "--curve.every=1", "--evaluation.protocols=[knn]", *flags,
    ]  # fmt: skip
    chosen = {name: decay for name, decay in DECAYS.items() if options.same_total or decay.kind != "exponential"}
    folders = {
        name: [run(options.experiment, d, seed, settings, options.out) for seed in range(options.seeds)]
        for name, d in chosen.items()
    }
    curves = {name: [curve(folder)[1] for folder in seeds] for name, seeds in folders.items()}
    figure_name = curve(folders["EE"][0])[0]
    config = yaml.safe_load((folders["EE"][0] / "config.yaml").read_text(encoding="utf-8"))
    images, reals = config["curve"]["images"], config["evaluation"]["generation"]["reals"]
    data, epochs = options.experiment.split("-")[1], config["trainer"]["max_epochs"]
    steps = curves["EE"][0][-1][0]
    factors = ", ".join(
        f"{Schedule(kind=decay.kind, gamma=options.gamma).factor(steps - 1, steps, steps // epochs):.2g} for {name}"  # type: ignore[arg-type]
        for name, decay in chosen.items()
    )
    text = (
        f"# SSGAN on {data}: decay per epoch (EE) and per iteration (EI)\n\n"
        f"{origin}.\n\n"
        f"{distance_label(figure_name)} of {images:,} samples (more samples give a lower distance) to the {reals} "
        f"images. An iteration is a step of the discriminator. Gamma {options.gamma}: the factor of the learning rate "
        f"at the last step is {factors}. Seeds: {options.seeds}.\n\n{table(curves)}\n"
    )
    print(text)
    if options.write:
        name = f"decay-{data}"
        title = f"SSGAN on {data}, gamma {options.gamma}, {images:,} samples"
        save(figure(curves, distance_label(figure_name), title), RESULTS / f"{name}.png")
        write(name, f"{text}\n![Distance against steps]({name}.png)\n")


if __name__ == "__main__":
    main()
