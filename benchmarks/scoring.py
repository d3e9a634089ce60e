"""Time of the default protocols on FashionMNIST, as `ssl-bench evaluate` records it.

    python benchmarks/scoring.py            print the tables (about a quarter of an hour on two cores)
    python benchmarks/scoring.py --write    also write them to benchmarks/results/scoring.md

The features are 10 principal components and all 784 pixels of the 60,000 training and 10,000 test images. Every
evaluation is a process of its own.
"""

import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.rounds import alternate, provenance, timing_options, write
from ssl_bench.results.record import Record

CASES = {
    "10 principal components": (["pca", "--method.components=10"], 20),
    "784 pixels": (["pixels"], 90),
}
"""Encoder with its flags, and the goal in seconds of all protocols."""
SCORES = ("linear_probe/accuracy", "svm/accuracy", "mlp_probe/accuracy", "knn_5/accuracy", "kmeans/accuracy")


def evaluate(encoder: list[str], records: list[Record]) -> float:
    """Seconds of all protocols of an evaluation; its record is added to `records`.

    Raises:
        SystemExit: the command or a protocol failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = ["evaluate", *encoder, "--data=fashion_mnist", f"--out={folder}"]
        done = subprocess.run(
            [sys.executable, "-m", "ssl_bench.cli", *command], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        (path,) = Path(folder).iterdir()
        records.append(Record.read(path))
    return sum(of_protocols(records[-1]).values())


def of_protocols(record: Record) -> dict[str, float]:
    """Seconds of the protocols alone, without encoding."""
    return {name: time for name, time in record.seconds.items() if name not in ("fit", "extract")}


def table(records: dict[str, list[Record]]) -> str:
    """Markdown table of seconds of every protocol, medians and ranges over the rounds."""
    lines = [f"| seconds | {' | '.join(records)} |", "|---" * (len(records) + 1) + "|"]
    names = list(dict.fromkeys(name for found in records.values() for one in found for name in of_protocols(one)))
    for name in [*names, "all protocols"]:
        cells = []
        for found in records.values():
            times = [of_protocols(one) for one in found]
            values = [sum(one.values()) if name == "all protocols" else one.get(name, 0.0) for one in times]
            cells.append(f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure all cases and print the tables."""
    options = timing_options(__doc__)
    origin = provenance()
    records: dict[str, list[Record]] = {name: [] for name in CASES}
    cases = {name: partial(evaluate, encoder, records[name]) for name, (encoder, _) in CASES.items()}
    found = alternate(cases, options.rounds)
    goals, scores = [], []
    for name, (_, goal) in CASES.items():
        total = statistics.median(found[name])
        reached = "reached" if total <= goal else "not reached"
        goals.append(f"- {name}: {total:.0f} s for all protocols, goal at most {goal} s: {reached}.")
        metrics = records[name][0].metrics
        scores.append(f"- {name}: {', '.join(f'`{score}` {metrics[score]:.1f}' for score in SCORES)}.")
    newline = "\n"
    text = f"""# Time of the default protocols on FashionMNIST

{origin}.

Medians of {options.rounds} alternated rounds, with the range in brackets.

{table(records)}

{newline.join(goals)}

Scores in percent:

{newline.join(scores)}
"""
    print(text)
    if options.write:
        write("scoring", text)


if __name__ == "__main__":
    main()
