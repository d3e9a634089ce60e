"""From raw images to a table of SimCLR alone and with generated views: A1 and A2, W-perturb and W-search.

    python benchmarks/assimilation.py parquet-narrow --data.root=cifar10-jpeg

runs stylegan2-, inversion- and simclr-parquet-narrow and the `views` commands between them, each a command of its own
that is printed before it runs; flags that are not the script's go to all of those that train. Each goes on where it was
interrupted, and so does the script when it is started again.
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
FIGURES = ("linear_probe/accuracy", "knn_5/accuracy", "knn_20/accuracy")


def in_a_process(arguments: list[str]) -> str:
    """The last line that a command prints, which is the folder that it made."""
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


class Chain:
    """Commands one after the other, and how long each took, interruptions included but for those by SIGKILL.

    Args:
        folder: of run folders, views, and the times.
        run: carries out a command and returns the last line that it prints.
    """

    def __init__(self, folder: Path, run: Callable[[list[str]], str]):
        self.folder, self.run, self.log = folder, run, folder / "steps.json"
        folder.mkdir(parents=True, exist_ok=True)
        self.steps: dict[str, dict[str, float]] = json.loads(self.log.read_text()) if self.log.is_file() else {}

    def __call__(self, name: str, *arguments: str) -> str:
        """Carry out `ssl-bench ARGUMENTS`; its time goes by `name`."""
        print(f"\n+ ssl-bench {shlex.join(arguments)}", file=sys.stderr, flush=True)
        step = self.steps.setdefault(name, {"seconds": 0.0, "done": False})
        start = time.perf_counter()
        try:
            made = self.run(list(arguments))
        finally:
            if not step["done"]:  # else it only says where what it made is
                step["seconds"] += time.perf_counter() - start
                self.write()
        step["done"] = True
        self.write()
        return made

    def write(self) -> None:
        """Keep the times."""
        with replacing(self.log) as file:
            file.write_text(json.dumps(self.steps, indent=2), encoding="utf-8")


def table_of(chain: Chain, experiments: str, sizes: argparse.Namespace, flags: list[str]) -> tuple[dict[str, str], str]:
    """Run folders of the table's rows by name, and the folder of the W-search views."""
    runs, views = str(chain.folder / "runs"), chain.folder / "views"
    common = [f"--out={runs}", *flags]

    def fit(method: str, *more: str) -> str:
        return chain(f"fit {method}", "fit", f"--experiment={method}-{experiments}", *common, *more)

    generator = fit("stylegan2")
    inversion = fit("inversion", f"--method.generator={generator}")
    encoder = fit("simclr", f"--data.fit_images={sizes.perturbed}")
    precision = f"--precision={sizes.precision}"
    codes = chain(
        "invert", "views", "invert", inversion, f"--out={views / 'codes'}", f"--images={sizes.perturbed}", precision,
        f"--steps={sizes.invert_steps}", f"--lr={sizes.invert_lr}",
    )  # fmt: skip
    perturbed = chain("perturb", "views", "perturb", codes, f"--out={views / 'w_perturb'}", precision)
    searched = chain(
        "search", "views", "search", codes, f"--encoder={encoder}", f"--out={views / 'w_search'}", precision,
        f"--images={sizes.searched}", f"--steps={sizes.search_steps}", f"--lr={sizes.search_lr}", "--shard_rows=100",
    )  # fmt: skip
    rows: dict[str, list[str]] = {"simclr": []}
    for kind, folder in {"w_perturb": perturbed, "w_search": searched}.items():
        cached = [f"--views.generated={SOURCE}", f"--views.generated.folder={folder}", "--views.generated_recipe=flip"]
        rows |= {f"simclr-a1-{kind}": [*cached, "--views.num_views=1"], f"simclr-a2-{kind}": cached}
    made = {
        name: chain(
            name, "bench", f"--experiment=simclr-{experiments}", f"--names.method={name}",
            f"--data.fit_images={sizes.searched}", f"--trainer.max_epochs={sizes.epochs}",
            "--evaluation.protocols=[linear_probe,knn]", *common, *more,
        )
        for name, more in sorted(rows.items())
    }  # fmt: skip
    for folder in (perturbed, searched):
        chain(f"show {Path(folder).name}", "views", "show", folder, f"--out={folder}.png")
    return made, searched


def report(chain: Chain, made: dict[str, str], searched: str, sizes: argparse.Namespace) -> str:
    """The table, what it compares, how well the boundary was held, and where the time went, in Markdown."""
    lines = [f"| | {' | '.join(FIGURES)} |", "|---" * (len(FIGURES) + 1) + "|"]
    for name, folder in made.items():
        metrics = Record.read(Path(folder)).metrics
        lines.append(f"| {name} | " + " | ".join(f"{metrics[figure]:.2f}" for figure in FIGURES) + " |")
    lines += [
        "",
        f"Each row is trained on the same {sizes.searched} images, {sizes.epochs} epochs. What is behind generated "
        f"views has seen more, the generator and its inversion all images, the encoder of W-search {sizes.perturbed}: "
        "rows with such views owe them more than the views themselves.",
    ]
    cache = Shards(searched)
    boundary, steps = cache.read_all("boundary"), cache.read_all("steps")
    lines += [
        "",
        f"W-search of {len(cache)} images, eps1 {cache.notes['eps1']:.3f}: "
        f"mean abs(d - eps1) {boundary.mean():.4f}, of the worst image "
        f"{boundary.max():.4f}; {steps.mean():.0f} steps in the mean.",
        "",
        "| step | minutes |",
        "|---|---|",
        *(f"| {name} | {step['seconds'] / 60:.1f} |" for name, step in chain.steps.items()),
        f"| all | {sum(step['seconds'] for step in chain.steps.values()) / 60:.1f} |",
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None, run: Callable[[list[str]], str] = in_a_process) -> None:
    """Run the chain and print, with --write keep, its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", help="what the names of the three experiments end with")
    parser.add_argument("--folder", type=Path, default=Path("assimilation"), help="of runs and views")
    parser.add_argument("--perturbed", type=int, default=5000, help="images of codes, W-perturb and the first encoder")
    parser.add_argument(
        "--searched", type=int, default=1000, help="the first of them: of W-search and the table's rows"
    )
    parser.add_argument("--epochs", type=int, default=50, help="of each row")
    parser.add_argument("--invert_steps", type=int, default=40)
    parser.add_argument("--invert_lr", type=float, default=0.05)
    parser.add_argument("--search_steps", type=int, default=40)
    parser.add_argument("--search_lr", type=float, default=0.05)
    parser.add_argument("--precision", default="bf16", help="of inversion, perturbation and search")
    parser.add_argument("--write", action="store_true", help=f"keep the table as {RESULT.name} in benchmarks/results")
    sizes, flags = parser.parse_known_args(arguments)
    chain = Chain(sizes.folder, run)
    made, searched = table_of(chain, sizes.experiments, sizes, flags)
    text = report(chain, made, searched, sizes)
    print(text)
    if sizes.write:
        command = shlex.join(
            ["python", "benchmarks/assimilation.py", *(sys.argv[1:] if arguments is None else arguments)]
        )
        with replacing(RESULT) as file:
            file.write_text(f"`{command}`, {datetime.date.today()}\n\n{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
