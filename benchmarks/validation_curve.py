"""Time of the validation curve at its default, beside the time of training.

    python benchmarks/validation_curve.py            print the table (about five minutes on two cores)
    python benchmarks/validation_curve.py --write    also write it to benchmarks/results/validation_curve.md

The joint-embedding methods are trained on digits with their presets. Digits are the hardest case: an epoch takes half a
second, so that a measurement is a larger share of it than with larger networks and data. `--experiments NAME...` trains
experiments instead; keys of the configuration are flags, too, such as --data.root. The exit code is 1 if the curve of a
run takes more than 5 % of the training time.
"""

import argparse
import contextlib
import io
import os
import sys
import tempfile
from pathlib import Path

from lightning import seed_everything

from benchmarks.rounds import provenance, write
from ssl_bench.callbacks.validation_curve import MAX_SHARE, ValidationCurve
from ssl_bench.config.resolve import build, resolve, to_dict
from ssl_bench.config.stack import stack
from ssl_bench.results.training_log import read_log
from ssl_bench.runs.score import training_progress
from ssl_bench.runs.train import fit, make_folder

METHODS = ("simclr", "byol", "moco", "nnclr", "swav", "dino", "vicreg", "barlow_twins", "simsiam")


def measure(experiment: str, flags: list[str]) -> tuple[str, float]:
    """Train an experiment: its row of the table, and the share of the curve in the time of training."""
    config = resolve([*stack(None, None, experiment), *flags])
    seed_everything(config.seed, verbose=False)
    run = build(config)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_folder(folder, to_dict(config))
        with contextlib.redirect_stdout(io.StringIO()):
            trainer = fit(run, config, folder)
        points = read_log(folder / "logs", "validation/").get("knn_5/accuracy", [])
        training = training_progress(folder)[0]["fit"]
    (curve,) = (found for found in trainer.callbacks if isinstance(found, ValidationCurve))  # type: ignore[attr-defined]
    share = curve.spent / training
    cells = (
        experiment,
        trainer.max_epochs,
        len(points),
        f"{training:.1f}",
        f"{curve.spent:.2f}",
        f"{100 * share:.1f} %",
    )
    return f"| {' | '.join(map(str, cells))} |", share


def main(arguments: list[str] | None = None) -> int:
    """Print the table; `--write` stores it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    digits = [f"{name}-digits" for name in METHODS]
    parser.add_argument("--experiments", nargs="+", default=digits, metavar="NAME", help="by default all on digits")
    parser.add_argument("--write", action="store_true")
    options, flags = parser.parse_known_args(arguments)
    os.environ["WANDB_MODE"] = "disabled"
    origin = provenance()
    rows, shares = zip(*(measure(name, flags) for name in options.experiments), strict=True)
    reached = "reached" if max(shares) <= MAX_SHARE else "not reached"
    newline = "\n"
    text = f"""# Time of the validation curve

{origin}.

5-NN of the validation images at the default interval. Seconds of training do not include those of the curve.

| experiment | epochs | measurements | seconds of training | seconds of the curve | share |
|---|---|---|---|---|---|
{newline.join(rows)}

Largest share {100 * max(shares):.1f} %, goal at most {100 * MAX_SHARE:g} %: {reached}.
"""
    print(text)
    if options.write:
        write("validation_curve", text)
    return int(max(shares) > MAX_SHARE)


if __name__ == "__main__":
    sys.exit(main())
