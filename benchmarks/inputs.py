"""Odd and wrong inputs: is any met with a traceback, dropped in silence or scored wrong?

    python benchmarks/inputs.py            print the table
    python benchmarks/inputs.py --write    also write it to benchmarks/results/inputs.md

Every input is made from a correct one by a seeded mutation, see `benchmarks/mutations`. It is given to the command line
in a process of its own, which is forked from one that has imported torch and Lightning. For every input the right exit
code is known, and after exit code 0 the numbers of images, their pixels or the scores are compared with those of an
independent computation in float64. The exit code is 1 if there is any fault.
"""

import argparse
import contextlib
import multiprocessing
import os
import random
import re
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.mutations import Case, features, folders, images, methods, parquet, settings
from benchmarks.rounds import provenance, write
from ssl_bench.cli import main as ssl_bench

LIMIT = 120.0
"""Seconds after which a command is counted as hung."""
KINDS = {
    "images": (images.mutate, 90),
    "folders": (folders.mutate, 70),
    "parquet": (parquet.mutate, 70),
    "features": (features.mutate, 90),
    "flags": (settings.mutate_flag, 80),
    "configuration files": (settings.mutate_file, 70),
    "methods": (methods.mutate, 30),
}
"""Mutation and number of inputs of each kind."""
RAW = re.compile(
    "<class '|Parser key|Does not validate|Expected a <|Problem with given|Problems parsing|NestedArg|Namespace"
)
"""Words of messages that jsonargparse writes for programmers."""
FAULTS = ("traceback", "silent drop", "wrong score", "wrong exit code", "unclear message", "hung")


def carry_out(kind: str, seed: str, folder: str) -> None:
    """Make one input, run the command, check the result, and write the description and the fault to files."""
    place = Path(folder)
    case: Case = KINDS[kind][0](random.Random(seed), place)
    (place / "description").write_text(case.description, encoding="utf-8")
    log = os.open(place / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(place)
    out = [] if any(word.startswith("--out") for word in case.arguments) else [f"--out={place / 'runs'}"]
    sys.argv = ["ssl-bench", *case.arguments, *out]
    code: object = 1
    try:
        code = ssl_bench(sys.argv[1:])
    except SystemExit as stop:  # argparse
        code = stop.code
    sys.stdout.flush()
    (place / "fault").write_text(fault(case, code, place), encoding="utf-8")


def fault(case: Case, code: object, place: Path) -> str:
    """The fault of a command that has ended, empty if there is none."""
    output = (place / "log").read_text(encoding="utf-8", errors="replace")
    runs = list((place / "runs").glob("*")) if (place / "runs").is_dir() else []
    if "Traceback" in output or ("--debug prints" in output and not case.says):
        return "traceback"
    if code not in case.codes:
        return "wrong exit code"
    if code == 0:
        with contextlib.redirect_stdout(None):
            return case.check(runs[0], output)
    lines = [line for line in output.splitlines() if line.startswith("ssl-bench: ")]
    if len(lines) != 1 or len(lines[0]) > 500 or case.says not in lines[0] or RAW.search(lines[0]):
        return "unclear message"
    return "wrong exit code" if runs and code == 2 else ""  # a refused run leaves no folder


def inject(kind: str, number: int, seed: int, folder: Path, verbose: bool) -> Counter[str]:
    """Faults of all inputs of one kind; two commands run at a time."""
    context = multiprocessing.get_context("forkserver")

    def one(index: int) -> str:
        place = folder / f"{kind.split()[0]}-{index}"
        place.mkdir()
        process = context.Process(target=carry_out, args=(kind, f"{seed} {kind} {index}", str(place)))
        process.start()
        process.join(LIMIT)
        if hung := process.is_alive():
            process.kill()
        found = "hung" if hung else (place / "fault").read_text() if (place / "fault").exists() else "traceback"
        log = (place / "log").read_text(errors="replace") if (place / "log").exists() else ""
        if found or verbose:
            description = (place / "description").read_text() if (place / "description").exists() else "no input"
            tail = "\n".join(log.splitlines()[-12:] if found else log.splitlines()[-1:])
            print(f"--- {place.name}: {found or 'right'}: {description}\n{tail}", file=sys.stderr, flush=True)
        return found

    with ThreadPoolExecutor(2) as threads:
        return Counter(threads.map(one, range(number)))


def table(found: dict[str, Counter[str]]) -> str:
    """Markdown table of the faults of every kind."""
    lines = [f"| input | number | {' | '.join(FAULTS)} |", "|---" * (len(FAULTS) + 2) + "|"]
    total: Counter[str] = sum(found.values(), Counter())
    for kind, counts in {**found, "all": total}.items():
        lines.append(f"| {kind} | {counts.total()} | {' | '.join(str(counts[fault]) for fault in FAULTS)} |")
    return "\n".join(lines)


def main() -> int:
    """Give all inputs to the command line and print the table; the exit code is 1 if there is any fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="default all")
    parser.add_argument("--share", type=float, default=1.0, help="share of the inputs; default 1, which is 500 inputs")
    parser.add_argument("--seed", type=int, default=0, help="seed of the mutations; default 0")
    parser.add_argument("--verbose", action="store_true", help="print the last line of every output")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    origin = provenance()
    os.environ |= {"OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled", "MPLBACKEND": "Agg"}
    context = multiprocessing.get_context("forkserver")
    own = ["ssl_bench.runs.evaluate", "ssl_bench.methods.simclr", "ssl_bench.methods.vae"]
    context.set_forkserver_preload([*own, "sklearn.linear_model", "sklearn.svm", "sklearn.cluster"])
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["SSL_BENCH_CACHE"] = f"{temporary}/cache"
        numbers = {kind: max(1, round(KINDS[kind][1] * options.share)) for kind in options.kinds}
        found = {
            kind: inject(kind, number, options.seed, Path(temporary), options.verbose)
            for kind, number in numbers.items()
        }
    minutes = (time.perf_counter() - start) / 60
    text = f"""# Odd and wrong inputs

{origin}. {minutes:.0f} minutes.

Every input was made from a correct one by a random mutation (`benchmarks/mutations`), and its right exit code is known.
A silent drop is a run that used fewer images than it was given and did not fail. Pixels, numbers of images and scores
of features were compared with those of an independent computation in float64. k-nearest neighbours, linear probe and
SVM (with the chosen L2 or C) must have the accuracies of scipy and scikit-learn up to the images on the border of two
classes: neighbours whose distances differ by less than 1e-4, or outputs that differ by less than {features.CLOSE:.0%}
of their standard deviation. The inertia of k-means must be that of scikit-learn up to {features.INERTIA:.0%}.

{table(found)}
"""
    print(text)
    if options.write:
        write("inputs", text)
    return int(any(counts[fault] for counts in found.values() for fault in FAULTS))


if __name__ == "__main__":
    sys.exit(main())
