"""Time, memory and accuracy of the evaluation protocols, beside scikit-learn, scipy, torchmetrics and faiss.

    python benchmarks/evaluator.py                 print the tables (about half an hour on two cores)
    python benchmarks/evaluator.py --only kmeans   the table of one protocol
    python benchmarks/evaluator.py --write         also write them to benchmarks/results/evaluator.md
    python benchmarks/evaluator.py --device cuda   ssl_bench on a GPU, the other libraries on the CPU

All libraries get the same arrays: 50,000 training features (5,000 of them for validation) and 10,000 test features of
dimension 512 in 10 overlapping classes. Every row of a table runs in its own process, so that threads and memory are
measured separately. The rows are alternated in every round; the tables show medians. The other libraries are called as
their documentation shows; faiss is included if it is installed. The rows are in the package `protocols`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.protocols import clusters, frechet, linear, neighbours, suite
from benchmarks.protocols.arrays import Data, Found, make_data
from benchmarks.rounds import provenance, write

MODULES = (linear, neighbours, clusters, frechet, suite)
TABLES: dict[str, dict[str, Callable[[Data], Found]]] = {
    name: rows for module in MODULES for name, rows in module.TABLES.items()
}
ONCE = {row for module in MODULES for row in getattr(module, "SLOW", ())}
"""Measured in the first round only, because they are slow."""


def measure(table: str, number: int, folder: Path, device: str) -> Found:
    """Measure one row of a table in a separate process."""
    command = [sys.executable, __file__, "--row", table, str(number), "--folder", str(folder), "--device", device]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        return {"failed": 1.0} if "No module named 'faiss'" in done.stderr else sys.exit(done.stderr)
    print(done.stderr, end="", file=sys.stderr)
    found: Found = json.loads(done.stdout.splitlines()[-1])
    return found


def show(name: str, rounds: list[list[Found]]) -> list[str]:
    """Markdown table of medians over the rounds; ratios are to the first row of another library."""
    rows = {
        label: {key: statistics.median(one[number][key] for one in rounds if key in one[number]) for key in found}
        for number, (label, found) in enumerate(zip(TABLES[name], rounds[0], strict=True))
    }
    other = next((found for label, found in rows.items() if not label.startswith("ssl_bench")), None)
    lines = [
        f"## {name}",
        "",
        "| | seconds | ratio | extra memory, MB | accuracy, % | objective |",
        "|---|---|---|---|---|---|",
    ]
    for label, found in rows.items():
        if "failed" in found:
            lines.append(f"| {label} | not installed | | | | |")
            continue
        ratio = f"{found['seconds'] / other['seconds']:.2f}" if other else ""
        accuracy = f"{found['accuracy']:.2f}" if "accuracy" in found else ""
        objective = f"{found['objective']:.7g}" if "objective" in found else ""
        lines.append(f"| {label} | {found['seconds']:.2f} | {ratio} | {found['mb']:.0f} | {accuracy} | {objective} |")
    if name == "suite":
        (found,) = rows.values()
        parts = ", ".join(f"{k.removeprefix('seconds ')} {v:.1f}" for k, v in found.items() if k.startswith("seconds "))
        lines += ["", f"Seconds per protocol: {parts}. The features occupy {found['features_mb']:.0f} MB."]
    return [*lines, ""]


def main() -> None:
    """Print the tables; `--write` stores them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--row", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        function = list(TABLES[options.row[0]].values())[int(options.row[1])]
        print(json.dumps(function(Data(options.folder, options.device))))
        return
    origin = provenance(options.device)
    lines = [
        "# Evaluation protocols beside other libraries",
        "",
        f"{origin}. 50,000 training and 10,000 test features of dimension 512, 10 overlapping classes. Medians over "
        "the rounds; the ratio is to the first other library in the table.",
        "",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name, array in make_data().items():
            np.save(Path(folder) / f"{name}.npy", array)
        for name in options.only:
            rounds: list[list[Found]] = []
            for round_ in range(options.rounds):
                rounds.append(
                    [
                        rounds[0][number]
                        if round_ and function in ONCE
                        else measure(name, number, Path(folder), options.device)
                        for number, function in enumerate(TABLES[name].values())
                    ]
                )
            lines += (shown := show(name, rounds))
            print("\n".join(shown), flush=True)
    if options.write:
        write(f"evaluator{'-gpu' if options.device == 'cuda' else ''}", "\n".join(lines))


if __name__ == "__main__":
    main()
