"""From raw images to a table of SimCLR with and without generated views: A1 and A2, W-perturb and W-search.

    python benchmarks/assimilation.py parquet-narrow --data.root=cifar10-jpeg

runs the experiments stylegan2-, inversion- and simclr-parquet-narrow and the `views` commands between them. Every step
is an `ssl-bench` command in its own process and is printed before it runs. Flags that the script does not define are
passed to all commands that train. An interrupted script resumes when it is started again.
"""

import argparse
import datetime
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ssl_bench.data.shards import Shards
from ssl_bench.files import replacing
from ssl_bench.results.record import Record

RESULT = Path(__file__).parent / "results" / "assimilation.md"
SOURCE = "ssl_bench.generation.sources.CachedViews"
METRICS = ("linear_probe/accuracy", "knn_5/accuracy", "knn_20/accuracy")


def run_in_process(arguments: list[str]) -> str:
    """Run a command in its own process; returns the last line of its output, the folder that it wrote."""
    last = ""
    with subprocess.Popen(
        [sys.executable, "-m", "ssl_bench.cli", *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout or ():
            print(line, end="", file=sys.stderr, flush=True)
            last = line.strip() or last
    if process.returncode:
        sys.exit(process.returncode)
    return last


class Pipeline:
    """Runs commands one after another and records their durations.

    A duration includes interrupted attempts, except those ended by SIGKILL.

    Args:
        folder: folder of runs, views and the recorded durations.
        run: runs a command and returns the last line of its output.
    """

    def __init__(self, folder: Path, run: Callable[[list[str]], str]):
        self.folder, self.run, self.log = folder, run, folder / "steps.json"
        folder.mkdir(parents=True, exist_ok=True)
        self.steps: dict[str, dict[str, float]] = json.loads(self.log.read_text()) if self.log.is_file() else {}

    def __call__(self, name: str, *arguments: str) -> str:
        """Run `ssl-bench ARGUMENTS`; its duration is recorded as `name`."""
        print(f"\n+ ssl-bench {shlex.join(arguments)}", file=sys.stderr, flush=True)
        step = self.steps.setdefault(name, {"seconds": 0.0, "done": False})
        start = time.perf_counter()
        try:
            made = self.run(list(arguments))
        finally:
            if not step["done"]:  # a completed command only prints its folder again
                step["seconds"] += time.perf_counter() - start
                self.write()
        step["done"] = True
        self.write()
        return made

    def write(self) -> None:
        """Write the recorded durations."""
        with replacing(self.log) as file:
            file.write_text(json.dumps(self.steps, indent=2), encoding="utf-8")


def run_all(
    pipeline: Pipeline, experiments: str, sizes: argparse.Namespace, flags: list[str]
) -> tuple[dict[str, str], str]:
    """Run all commands; returns the run folders of the table's rows by name, and the folder of the W-search views."""
    runs, views = str(pipeline.folder / "runs"), pipeline.folder / "views"
    common = [f"--out={runs}", *flags]

    def fit(method: str, *more: str) -> str:
        return pipeline(f"fit {method}", "fit", f"--experiment={method}-{experiments}", *common, *more)

    generator = fit("stylegan2")
    inversion = fit("inversion", f"--method.generator={generator}")
    encoder = fit("simclr", f"--data.fit_images={sizes.perturbed}")
    precision = f"--precision={sizes.precision}"
    codes = pipeline(
        "invert", "views", "invert", inversion, f"--out={views / 'codes'}", f"--images={sizes.perturbed}", precision,
        f"--steps={sizes.invert_steps}", f"--lr={sizes.invert_lr}",
    )  # fmt: skip
    perturbed = pipeline("perturb", "views", "perturb", codes, f"--out={views / 'w_perturb'}", precision)
    searched = pipeline(
        "search", "views", "search", codes, f"--encoder={encoder}", f"--out={views / 'w_search'}", precision,
        f"--images={sizes.searched}", f"--steps={sizes.search_steps}", f"--lr={sizes.search_lr}", "--shard_rows=100",
    )  # fmt: skip
    rows: dict[str, list[str]] = {"simclr": []}
    for kind, folder in {"w_perturb": perturbed, "w_search": searched}.items():
        cached = [f"--views.generated={SOURCE}", f"--views.generated.folder={folder}", "--views.generated_recipe=flip"]
        rows |= {f"simclr-a1-{kind}": [*cached, "--views.num_views=1"], f"simclr-a2-{kind}": cached}
    made = {
        name: pipeline(
            name, "bench", f"--experiment=simclr-{experiments}", f"--names.method={name}",
            f"--data.fit_images={sizes.searched}", f"--trainer.max_epochs={sizes.epochs}",
            "--evaluation.protocols=[linear_probe,knn]", *common, *more,
        )
        for name, more in sorted(rows.items())
    }  # fmt: skip
    for folder in (perturbed, searched):
        pipeline(f"show {Path(folder).name}", "views", "show", folder, f"--out={folder}.png")
    return made, searched


def results(pipeline: Pipeline, made: dict[str, str], searched: str, sizes: argparse.Namespace) -> str:
    """Markdown of the table, with the distances that W-search reached and the duration of every command."""
    lines = [f"| | {' | '.join(METRICS)} |", "|---" * (len(METRICS) + 1) + "|"]
    for row, folder in made.items():
        metrics = Record.read(Path(folder)).metrics
        lines.append(f"| {row} | " + " | ".join(f"{metrics[name]:.2f}" for name in METRICS) + " |")
    lines += [
        "",
        f"Each row is trained on the same {sizes.searched} images for {sizes.epochs} epochs. The networks behind the "
        f"generated views are trained on more images: the generator and its inversion on all, the encoder of W-search "
        f"on {sizes.perturbed}. A gain of rows with generated views is therefore not due to the views alone.",
    ]
    cache = Shards(searched)
    boundary, steps = cache.read_all("boundary"), cache.read_all("steps")
    lines += [
        "",
        f"W-search of {len(cache)} images, eps1 {cache.notes['eps1']:.3f}: "
        f"abs(d - eps1) is {boundary.mean():.4f} on average and {boundary.max():.4f} for the worst image; "
        f"{steps.mean():.0f} steps on average.",
        "",
        "| step | minutes |",
        "|---|---|",
        *(f"| {name} | {step['seconds'] / 60:.1f} |" for name, step in pipeline.steps.items()),
        f"| all | {sum(step['seconds'] for step in pipeline.steps.values()) / 60:.1f} |",
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None, run: Callable[[list[str]], str] = run_in_process) -> None:
    """Run all commands and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", help="common suffix of the three experiments' names")
    parser.add_argument("--folder", type=Path, default=Path("assimilation"), help="folder of runs and views")
    parser.add_argument(
        "--perturbed", type=int, default=5000, help="images of inversion, W-perturb and the first encoder"
    )
    parser.add_argument(
        "--searched", type=int, default=1000, help="first images of these, for W-search and the table's rows"
    )
    parser.add_argument("--epochs", type=int, default=50, help="epochs of each row")
    parser.add_argument("--invert_steps", type=int, default=40)
    parser.add_argument("--invert_lr", type=float, default=0.05)
    parser.add_argument("--search_steps", type=int, default=40)
    parser.add_argument("--search_lr", type=float, default=0.05)
    parser.add_argument("--precision", default="bf16", help="precision of inversion, perturbation and search")
    parser.add_argument("--write", action="store_true", help=f"write the table to benchmarks/results/{RESULT.name}")
    sizes, flags = parser.parse_known_args(arguments)
    pipeline = Pipeline(sizes.folder, run)
    made, searched = run_all(pipeline, sizes.experiments, sizes, flags)
    text = results(pipeline, made, searched, sizes)
    print(text)
    if sizes.write:
        command = shlex.join(
            ["python", "benchmarks/assimilation.py", *(sys.argv[1:] if arguments is None else arguments)]
        )
        with replacing(RESULT) as file:
            file.write_text(f"`{command}`, {datetime.date.today()}\n\n{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
