"""SimCLR beside lightly: duration of a step and of an epoch, 5-NN accuracy after a short run; cost of cached views.

    python benchmarks/views.py                                                  print the tables for CIFAR-10
    python benchmarks/views.py --data parquet --data.root cifar10-jpeg --write  other data; also write results/views.md
    python benchmarks/views.py --only cache                                     one part

lightly runs as in its documentation of SimCLR: backbone, SimCLRProjectionHead, NTXentLoss and SGD in float32, one
forward pass per view, views from SimCLRTransform on PIL images in a DataLoader with two workers. ssl_bench runs
`--method simclr` as `ssl-bench bench` trains it, with a head of the same sizes, the same loss and the same initial
weights. lightly is skipped if it is not installed. Further flags are those of `ssl-bench bench`.
"""

import argparse
import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.rounds import Seconds, alternate, compare_with_goal, provenance, speed_up, table, write
from benchmarks.simclr import LIGHTLY, WORKERS, Lightly, Ours, pil_loader
from benchmarks.structural_gan import Clock
from ssl_bench.data.module import DataModule
from ssl_bench.data.shards import SHARD_ROWS, Shards
from ssl_bench.data.types import Batch
from ssl_bench.data.views import Views
from ssl_bench.evaluation.protocols.knn import vote
from ssl_bench.generation.image_identity import identify_fit_images
from ssl_bench.generation.sources import CachedViews

CACHED, K = 8, 5
MIXED = "channels_last and bf16"


def differences(views: Tensor, ours: Ours) -> dict[str, float]:
    """Relative differences of loss and gradient from ssl_bench in float32, for ssl_bench in bf16 and for lightly."""
    method = ours.method
    found: list[tuple[Tensor, Tensor]] = []

    def add(loss: Tensor, module: nn.Module) -> None:
        gradients = torch.autograd.grad(loss, list(module.parameters()))
        found.append((loss.detach(), torch.cat([gradient.flatten() for gradient in gradients])))

    for mixed in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            add(method.objective(method.embed_views(views))["loss"], method)
    if LIGHTLY:
        theirs = Lightly(ours)
        add(theirs.loss(list(views)), theirs)
    (loss, gradient), *others = found
    names = ("ssl_bench in bf16", "lightly")
    return {
        f"{name} {what}": float((other - own).norm() / own.norm())
        for name, pair in zip(names, others, strict=False)
        for what, own, other in zip(("loss", "gradient"), (loss, gradient), pair, strict=True)
    }


def step_part(flags: list[str], options: argparse.Namespace) -> str:
    """Duration of a step on given views."""
    make = partial(Ours, flags, options, options.width, options.images)
    exact, mixed = make(), make(mixed=True)
    fit = exact.data.split("fit")
    views = exact.run.views(fit[torch.arange(options.batch)].images)
    agreement = ", ".join(f"{name} {value:.1e}" for name, value in differences(views, exact).items())
    batches = [Batch(views, torch.zeros(options.batch), torch.arange(options.batch))] * (options.steps + 1)
    cases: dict[str, Callable[[], float]] = {}
    if LIGHTLY:
        pairs: DataLoader[tuple[list[Tensor], int]] = DataLoader([(list(views), 0)] * len(batches), batch_size=None)  # type: ignore[arg-type]
        cases["lightly"] = partial(Lightly(exact).fit, pairs)
    for name, ours in {"ssl_bench": exact, f"ssl_bench, {MIXED}": mixed}.items():
        ours.method.views = None
        cases[name] = partial(ours.fit, DataLoader(batches, batch_size=None))  # type: ignore[arg-type]
    seconds = alternate(cases, options.rounds)
    goals = compare_with_goals(seconds, {"ssl_bench": 1.0, f"ssl_bench, {MIXED}": 1.8}, "a step")
    return (
        f"## A step, {options.batch} images, ResNet-18 of width {options.width}\n\n"
        f"{table(seconds, 'step', options.batch)}\n\n{goals}\n\n"
        f"Relative difference from ssl_bench in float32, at equal weights: {agreement}."
    )


def compare_with_goals(seconds: Seconds, goals: dict[str, float], what: str) -> str:
    """Compare the speed-ups over lightly with their goals, one line per case."""
    if not LIGHTLY:
        return "lightly is not installed and was skipped."
    return "\n".join(
        compare_with_goal(f"{what}, {name}", speed_up(seconds, name), goal) for name, goal in goals.items()
    )


def epoch_part(flags: list[str], options: argparse.Namespace) -> str:
    """Duration of an epoch with its views, for the given width and for a narrow network with short steps."""
    parts = []
    for width in (options.width, options.narrow):
        ours = Ours(flags, options, width, options.images, mixed=True)
        cases: dict[str, Callable[[], float]] = {}
        if LIGHTLY:
            cases[f"lightly, {WORKERS} workers"] = partial(Lightly(ours).fit, pil_loader(ours, options.batch))
        cases[f"ssl_bench, {MIXED}"] = ours.fit
        seconds = alternate(cases, options.rounds)
        goals = compare_with_goals(seconds, {f"ssl_bench, {MIXED}": 2.0}, f"an epoch at width {width}")
        parts.append(f"{table(seconds, f'step at width {width}', options.batch)}\n\n{goals}")
    return f"## An epoch of {options.images:,} images with its views, per step\n\n" + "\n\n".join(parts)


@torch.no_grad()
def accuracy(encoder: nn.Module, ours: Ours, queries: int) -> float:
    """5-NN accuracy of test images in percent, cosine similarity to the training images."""
    data, normalised = ours.data, ours.run.views.evaluation_input
    parts = data.split("fit")[data.fit_ids()], data.split("test")[torch.arange(min(queries, len(data.split("test"))))]
    bank, test = (torch.cat([encoder(normalised(images)) for images in part.images.split(500)]) for part in parts)
    nearest = (nn.functional.normalize(test) @ nn.functional.normalize(bank).T).topk(K).indices
    labels = [part.labels.view(len(part.labels), -1)[:, 0] for part in parts]
    predicted = vote(labels[0][nearest].unsqueeze(2), len(data.targets[0].classes)).squeeze(1)
    return 100 * (predicted == labels[1]).double().mean().item()


def knn_part(flags: list[str], options: argparse.Namespace) -> str:
    """5-NN accuracy of narrow networks after the same short training, from the same initial weights."""
    make = partial(Ours, flags, options, options.narrow, options.trained)
    rows = []

    def score(name: str, encoder: nn.Module, ours: Ours, train: Callable[..., float] | None = None) -> None:
        start = time.perf_counter()
        if train is not None:
            train(epochs=options.epochs)
        seconds = time.perf_counter() - start
        rows.append(f"| {name} | {accuracy(encoder.eval(), ours, options.queries):.1f} | {seconds:.0f} |")

    exact, mixed = make(), make(mixed=True)
    score("none (initial weights)", exact.method.backbone, exact)
    if LIGHTLY:
        theirs = Lightly(exact)
        score("lightly", theirs.backbone, exact, partial(theirs.fit, pil_loader(exact, options.batch)))
    for name, ours in {"ssl_bench": exact, f"ssl_bench, {MIXED}": mixed}.items():
        score(name, ours.method.train().backbone, ours, ours.fit)
    lines = ["| training | 5-NN, % | seconds |", "|---|---|---|", *rows]
    return (
        f"## {options.epochs} epochs on {options.trained:,} images, width {options.narrow}, one seed\n\n"
        f"5-NN of {options.queries:,} test images among the training images, cosine similarity.\n\n" + "\n".join(lines)
    )


def make_cache(folder: Path, data: DataModule, count: int) -> None:
    """Write a cache of 8 views of each image; every view is a copy of the image."""
    images, order = data.split("fit"), data.fit_order()[:count]
    shards = Shards.create(folder, {"kind": "search", "data": identify_fit_images(data, count), "settings": {}}, count)
    for shard in range(-(-count // SHARD_ROWS)):
        pixels = images[order[shards.rows(shard)]].images.cpu()
        shards.write(shard, {"views": pixels.unsqueeze(1).repeat(1, CACHED, 1, 1, 1)})


def cache_part(flags: list[str], options: argparse.Namespace) -> str:
    """Duration of a step, and of its views alone, with two expert views and a cached one or with three expert views."""
    parts, worst = [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        for width in (options.width, options.narrow):
            three, cached = (Ours(flags, options, width, options.cached, mixed=True) for _ in range(2))
            data = three.data
            if width == options.width:
                make_cache(Path(folder), data, options.cached)
            facts = {"image_shape": data.image_shape, "mean": data.mean, "std": data.std}
            source = CachedViews(folder)
            three.method.views = Views("simclr_weak", 3, **facts)  # type: ignore[arg-type]
            cached.method.views = Views("simclr_weak", 2, generated=source, generated_recipe="flip", **facts)  # type: ignore[arg-type]
            names = ("three expert views", "two expert views and a cached one")
            cases = {
                name: partial(ours.fit, batches=1 + options.steps * max(1, options.width // width))
                for name, ours in zip(names, (three, cached), strict=True)
            }
            seconds = alternate(cases, options.rounds)
            worst = max(worst, 1 / speed_up(seconds, names[1]))
            parts.append(table(seconds, f"step at width {width}", options.batch))
        source.open(data, torch.device("cpu"))
        making = {
            name: partial(views_alone, ours.method.views, data, options.batch)
            for name, ours in zip(names, (three, cached), strict=True)
        }
        parts.append(table(alternate(making, options.rounds), "views alone", options.batch))
    return (
        f"## Views of a cache: {CACHED} views of each of {options.cached:,} images, read at random\n\n"
        + "\n\n".join(parts)
        + f"\n\n{compare_with_goal('a step with a cached view, the slower of both widths', worst, 1.1, at_most=True)}"
    )


def views_alone(views: Callable[[Tensor, Tensor], Tensor] | None, data: DataModule, batch: int) -> float:
    """Seconds per batch of views."""
    assert views is not None
    images, ids = data.split("fit"), data.fit_ids()
    chosen = [images[ids[torch.randperm(len(ids))[:batch]]] for _ in range(10)]
    start = Clock().now()
    for one in chosen:
        views(one.images, one.ids)
    return (Clock().now() - start) / len(chosen)


PARTS = {"step": step_part, "epoch": epoch_part, "knn": knn_part, "cache": cache_part}


def parser() -> argparse.ArgumentParser:
    """Parser of the sizes; the defaults are those of the published results."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    made.add_argument("--data", default="cifar10")
    made.add_argument("--only", choices=PARTS, nargs="+", default=list(PARTS))
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--steps", type=int, default=2, help="timed steps per round, after one untimed step")
    made.add_argument("--batch", type=int, default=64, help="images per step")
    made.add_argument("--width", type=int, default=64, help="width of the ResNet-18")
    made.add_argument("--narrow", type=int, default=16, help="width of the narrow ResNet-18")
    made.add_argument("--images", type=int, default=384, help="images per timed epoch")
    made.add_argument("--trained", type=int, default=3000, help="training images of the short run")
    made.add_argument("--epochs", type=int, default=8, help="epochs of the short run")
    made.add_argument("--queries", type=int, default=5000, help="test images of the 5-NN accuracy")
    made.add_argument("--cached", type=int, default=10_000, help="images with cached views")
    made.add_argument("--write", action="store_true")
    return made


def main() -> None:
    """Measure all parts and print the tables."""
    options, flags = parser().parse_known_args()
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    about = f"{provenance()}; {options.rounds} alternated rounds."
    parts = [PARTS[part](flags, options) for part in options.only]
    text = "\n\n".join(["# SimCLR with expert and cached views", about, *parts])
    print(text)
    if options.write:
        write("views", text + "\n")


if __name__ == "__main__":
    main()
