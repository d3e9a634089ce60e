"""The structural GAN on two spirals, per seed: separation of the arms and quality of the samples.

    python benchmarks/double_spiral.py            print the table
    python benchmarks/double_spiral.py --write    also write it to benchmarks/results/double_spiral.md

Every run is `ssl-bench bench --method structural_gan --data double_spiral`. The baselines are k-means and a linear
probe on raw coordinates and on the untrained backbone. Two percentages describe the samples: samples within 3 standard
deviations of the noise of an arm, and test points that have a sample within that distance.
"""

import argparse
import datetime
import statistics
import tempfile
import time
from pathlib import Path

import torch

from ssl_bench.cli import main as ssl_bench
from ssl_bench.data.spiral import NOISE, POINTS, SCALE, distance_to_arms, double_spiral
from ssl_bench.files import replacing
from ssl_bench.methods.base import Generative
from ssl_bench.methods.checkpoint import load_method
from ssl_bench.results.record import Record

PROTOCOLS = "--evaluation.protocols=[kmeans,knn,linear_probe]"


def run(out: Path, seed: int, flags: list[str]) -> dict[str, float]:
    """Train and score one seed; scores in percent, duration in seconds."""
    start = time.perf_counter()
    command = ["bench", "--method=structural_gan", "--data=double_spiral", f"--seed={seed}", f"--out={out}", PROTOCOLS]
    if ssl_bench([*command, *flags]) != 0:
        raise SystemExit("the run ended with an error")
    seconds = time.perf_counter() - start
    (folder,) = out.glob(f"*-s{seed}-*")
    method = load_method(folder)
    assert isinstance(method, Generative)
    with torch.no_grad():
        samples = method.sample(5000, torch.Generator().manual_seed(0))
    test, _ = double_spiral(POINTS["test"], 1)
    gaps = torch.cdist(test, samples).amin(1) * SCALE / NOISE
    metrics = Record.read(folder).metrics
    return {
        "K-means": metrics["kmeans/accuracy"],
        "linear probe": metrics["linear_probe/accuracy"],
        "samples within 3 sd": 100 * (distance_to_arms(samples) <= 3).double().mean().item(),
        "test points within 3 sd of a sample": 100 * (gaps <= 3).double().mean().item(),
        "seconds": seconds,
    }


def main() -> None:
    """Train and score all seeds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--lazy", type=int, nargs="+", default=[1, 4], help="values of --method.lazy")
    parser.add_argument("--write", action="store_true")
    options, flags = parser.parse_known_args()
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        raw_command = ["evaluate", "pixels", "--data=double_spiral", f"--out={out / 'raw'}", PROTOCOLS]
        assert ssl_bench(raw_command) == 0
        raw = Record.read(next((out / "raw").iterdir())).metrics
        for lazy in options.lazy:
            seeds = range(1, options.seeds + 1)  # the settings were tuned on seed 0
            rows = [run(out / str(lazy), seed, [f"--method.lazy={lazy}", *flags]) for seed in seeds]
            lines += [
                f"\nJacobian term on every {lazy}th batch:\n" if lazy > 1 else "\nJacobian term on every batch:\n"
            ]
            lines += ["| seed | " + " | ".join(rows[0]) + " |", "|---" * (1 + len(rows[0])) + "|"]
            lines += [
                f"| {seed} | " + " | ".join(f"{v:.1f}" for v in row.values()) + " |"
                for seed, row in zip(seeds, rows, strict=True)
            ]
            means = {key: statistics.mean(row[key] for row in rows) for key in rows[0]}
            lines += ["| mean | " + " | ".join(f"{v:.1f}" for v in means.values()) + " |"]
        untrained = run(out / "untrained", 0, ["--epochs=0", *flags])
    text = (
        f"# Structural GAN on two spirals\n\n`python benchmarks/double_spiral.py --seeds {options.seeds} --write"
        f"{' ' + ' '.join(flags) if flags else ''}`, {datetime.date.today()}, {torch.get_num_threads()} CPU threads, "
        f"torch {torch.__version__}. Scores in percent.\n\nK-means on raw coordinates {raw['kmeans/accuracy']:.1f}, "
        f"on the untrained backbone {untrained['K-means']:.1f}; linear probe {raw['linear_probe/accuracy']:.1f} and "
        f"{untrained['linear probe']:.1f}.\n" + "\n".join(lines) + "\n"
    )
    print(text)
    if options.write:
        with replacing(Path(__file__).parent / "results" / "double_spiral.md") as file:
            file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
