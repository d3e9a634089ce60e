"""Images per second of training on one process and on two processes of this CPU.

    python benchmarks/processes.py            print the table (about twenty minutes on two cores)
    python benchmarks/processes.py --write    also write it to benchmarks/results/processes.md

Every case is `ssl-bench fit` on random images with the same batch over all processes, in a process of its own.
The speed is that of the last epoch, as it is printed.
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.rounds import Seconds, alternate, provenance, timing_options, write

ROOT = Path(__file__).parent.parent
SIMVAE = ["--method=simvae", "--data=benchmarks.train.Noise", "--views.num_views=6"]
SIMCLR = ["--method=simclr", "--data=benchmarks.mae_ddpm.Noise", "--method.backbone.width=16"]
METHODS = {
    "simvae, MLP, 28 px, 42 images of 6 views": SIMVAE,
    "simclr, ResNet-18 of width 16, 32 px, 128 images of 2 views": SIMCLR,
}
BATCHES = {name: int(re.findall(r"(\d+) images", name)[0]) for name in METHODS}
STEPS = 40
"""Steps of an epoch; two epochs are trained."""
CASES = {
    "one process, one thread": (1, 1),
    "one process, two threads": (1, 2),
    "two processes, one thread each": (2, 1),
}


def speed(name: str, processes: int, threads: int) -> float:
    """Images per second of training, each view of an image counted once."""
    with tempfile.TemporaryDirectory() as folder:
        flags = [f"--data.batch_size={BATCHES[name] // processes}", f"--trainer.limit_train_batches={STEPS}"]
        flags += ["--epochs=2", f"--devices={processes}", "--trainer.accelerator=cpu", f"--out={folder}"]
        done = subprocess.run(
            [sys.executable, "-m", "ssl_bench.cli", "fit", *METHODS[name], *flags, "--validation.every=0"],
            capture_output=True, text=True, check=False, cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": str(threads), "WANDB_MODE": "disabled", "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    found = re.findall(r"^epoch 2/2 .* ([\d,]+) images/s", done.stdout, re.MULTILINE)
    if done.returncode or not found:
        raise SystemExit(f"{name}: {done.stderr}")
    return float(found[0].replace(",", ""))


def table(found: dict[str, Seconds]) -> str:
    """Markdown table of medians and ranges; ratios are medians over the rounds."""
    lines = ["| training | images/s (median) | min to max | of one process with two threads |", "|---" * 4 + "|"]
    for name, speeds in found.items():
        for case, values in speeds.items():
            pairs = zip(values, speeds["one process, two threads"], strict=True)
            ratio = statistics.median(value / other for value, other in pairs)
            lines.append(
                f"| {name}: {case} | {statistics.median(values):,.0f} | {min(values):,.0f} to {max(values):,.0f} "
                f"| {100 * ratio:.0f} % |"
            )
    return "\n".join(lines)


def main() -> None:
    """Measure all cases and print the table."""
    options = timing_options(__doc__)
    origin = provenance()
    found = {
        name: alternate({case: partial(speed, name, *counts) for case, counts in CASES.items()}, options.rounds)
        for name in METHODS
    }
    text = f"""# Training on one process and on two

{origin}.

Images/s of the second of two epochs of {STEPS} steps, {options.rounds} alternated rounds. The batch over all processes
is the same. An overhead of at most 15 % is 87 % or more in the last column.

{table(found)}
"""
    print(text)
    if options.write:
        write("processes", text)


if __name__ == "__main__":
    main()
