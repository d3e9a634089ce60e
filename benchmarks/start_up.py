"""Time from the shell to the end of the first training step, beside the imports that it needs.

    python benchmarks/start_up.py            print the table (a few minutes on two cores)
    python benchmarks/start_up.py --write    also write it to benchmarks/results/start_up.md

Every measurement is a process of its own, with files in the cache of the operating system.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.rounds import Seconds, alternate, provenance, speed_up, timing_options, write

ROOT = Path(__file__).parent.parent
IMPORTS = """
import torch, lightning, torchvision.transforms.v2, sklearn.datasets
weights = torch.nn.Parameter(torch.zeros(1))
weights.sum().backward()
torch.optim.Adam([weights], fused=True).step()
"""
"""What training needs of other libraries: their imports, with the one of the first step of an optimizer."""
RUN = ["--method=simvae", "--data=digits"]
STEP = ["--trainer.max_steps=1", "--trainer.limit_train_batches=1", "--validation.every=0"]
CASES = {
    "imports of torch, Lightning, torchvision, scikit-learn; a step of Adam": ["-c", IMPORTS],
    "`ssl-bench fit`, one step of SimVAE on digits": ["-m", "ssl_bench.cli", "fit", *RUN, *STEP],
    "`ssl-bench bench --dry_run` of the same": ["-m", "ssl_bench.cli", "bench", *RUN, "--dry_run"],
    "`ssl-bench bench --method simvea`, a wrong name": ["-m", "ssl_bench.cli", "bench", "--method=simvea", RUN[1]],
    "`ssl-bench list`": ["-m", "ssl_bench.cli", "list"],
}
FIRST_STEP = list(CASES)[1]


def seconds(arguments: list[str], code: int) -> float:
    """Wall-clock seconds of a process in an empty folder.

    Raises:
        SystemExit: its exit code is not the expected one.
    """
    environment = os.environ | {"WANDB_MODE": "disabled", "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # without bytecode on disk, every process compiles all modules
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=folder, env=environment
        )
        duration = time.perf_counter() - start
    if done.returncode != code:
        raise SystemExit(f"{' '.join(arguments)}: exit code {done.returncode}: {done.stderr}")
    return duration


def table(found: Seconds) -> str:
    """Markdown table of medians and ranges over the rounds."""
    lines = ["| process | seconds (median) | min to max |", "|---" * 3 + "|"]
    for name, values in found.items():
        lines.append(f"| {name} | {statistics.median(values):.2f} | {min(values):.2f} to {max(values):.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure all cases and print the table."""
    options = timing_options(__doc__)
    origin = provenance()
    cases = {name: partial(seconds, arguments, 2 * ("wrong" in name)) for name, arguments in CASES.items()}
    for case in cases.values():
        case()
    found = alternate(cases, options.rounds)
    first = statistics.median(found[FIRST_STEP])
    text = f"""# Start-up

{origin}.

Seconds of whole processes, {options.rounds} alternated rounds after one that is not measured. The first row is the time
that the imports of other libraries take alone: Lightning imports torchmetrics, and with it torchvision, scipy and
torch's compiler.

{table(found)}

- From the shell to the end of a process with one training step: {first:.1f} s, goal at most 6 s: \
{"reached" if first <= 6 else "not reached"}. Of these, {100 * speed_up(found, FIRST_STEP):.0f} % are the imports of
  other libraries and a step of Adam.
"""
    print(text)
    if options.write:
        write("start_up", text)


if __name__ == "__main__":
    main()
