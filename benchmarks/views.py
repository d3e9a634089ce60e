"""SimCLR beside lightly's: a step, whole epochs with their views, 5-NN after a short run; and views read from a cache.

    python benchmarks/views.py                                                  prints the tables, on CIFAR-10
    python benchmarks/views.py --data parquet --data.root cifar10-jpeg --write  on a folder; keeps results/views.md
    python benchmarks/views.py --only cache                                     one part

lightly's step is that of its documented SimCLR: backbone, SimCLRProjectionHead, NTXentLoss and SGD in float32, each
view forwarded apart, views by its SimCLRTransform on PIL images in a DataLoader with two workers. Ours is METHOD=simclr
as `ssl-bench bench` trains it, with a head of the same sizes and the same loss, from the same weights. Without lightly
installed it is left out. Other flags are those of `ssl-bench bench`.
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

from benchmarks.simclr import LIGHTLY, WORKERS, Lightly, Suite, pictures
from benchmarks.structural_gan import Clock
from benchmarks.turns import Seconds, machine, speed_up, table, take_turns, verdict, write
from ssl_bench.data.module import DataModule
from ssl_bench.data.shards import SHARD_ROWS, Shards
from ssl_bench.data.types import Batch
from ssl_bench.data.views import Views
from ssl_bench.evaluation.protocols.knn import vote
from ssl_bench.generation.origin import of_fit
from ssl_bench.generation.sources import CachedViews

CACHED, K = 8, 5
MIXED = "channels_last and bf16"


def differences(views: Tensor, suite: Suite) -> dict[str, float]:
    """Relative, of losses and their gradients, from ours in float32 at equal weights: of ours in bf16, of lightly's."""
    method = suite.method
    found: list[tuple[Tensor, Tensor]] = []

    def add(loss: Tensor, module: nn.Module) -> None:
        gradients = torch.autograd.grad(loss, list(module.parameters()))
        found.append((loss.detach(), torch.cat([gradient.flatten() for gradient in gradients])))

    for mixed in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            add(method.objective(method.embed_views(views))["loss"], method)
    if LIGHTLY:
        theirs = Lightly(suite)
        add(theirs.loss(list(views)), theirs)
    (loss, gradient), *others = found
    names = ("ours in bf16", "lightly's")
    return {
        f"{name} {what}": float((other - own).norm() / own.norm())
        for name, pair in zip(names, others, strict=False)
        for what, own, other in zip(("loss", "gradient"), (loss, gradient), pair, strict=True)
    }


def step_part(flags: list[str], options: argparse.Namespace) -> str:
    """A step on views that are there."""
    make = partial(Suite, flags, options, options.width, options.images)
    exact, mixed = make(), make(mixed=True)
    fit = exact.data.split("fit")
    views = exact.run.views(fit[torch.arange(options.batch)].images)
    agreement = ", ".join(f"{name} {value:.1e}" for name, value in differences(views, exact).items())
    batches = [Batch(views, torch.zeros(options.batch), torch.arange(options.batch))] * (options.steps + 1)
    contestants: dict[str, Callable[[], float]] = {}
    if LIGHTLY:
        pairs: DataLoader[tuple[list[Tensor], int]] = DataLoader([(list(views), 0)] * len(batches), batch_size=None)  # type: ignore[arg-type]
        contestants["lightly"] = partial(Lightly(exact).fit, pairs)
    for name, suite in {"ssl_bench": exact, f"ssl_bench, {MIXED}": mixed}.items():
        suite.method.views = None
        contestants[name] = partial(suite.fit, DataLoader(batches, batch_size=None))  # type: ignore[arg-type]
    seconds = take_turns(contestants, options.rounds)
    verdicts = bars(seconds, {"ssl_bench": 1.0, f"ssl_bench, {MIXED}": 1.8}, "a step")
    return (
        f"## A step, {options.batch} images, ResNet-18 of width {options.width}\n\n"
        f"{table(seconds, 'step', options.batch)}\n\n{verdicts}\n\n"
        f"At equal weights, relative to ours in float32: {agreement}."
    )


def bars(seconds: Seconds, wanted: dict[str, float], what: str) -> str:
    """What was wanted against lightly, if it is there."""
    if not LIGHTLY:
        return "lightly is not installed: left out."
    return "\n".join(verdict(f"{what}, {name}", speed_up(seconds, name), bar) for name, bar in wanted.items())


def epoch_part(flags: list[str], options: argparse.Namespace) -> str:
    """Whole epochs, views included, of the network's width and of a narrow one, whose steps are quick."""
    parts = []
    for width in (options.width, options.narrow):
        ours = Suite(flags, options, width, options.images, mixed=True)
        contestants: dict[str, Callable[[], float]] = {}
        if LIGHTLY:
            contestants[f"lightly, {WORKERS} workers"] = partial(Lightly(ours).fit, pictures(ours, options.batch))
        contestants[f"ssl_bench, {MIXED}"] = ours.fit
        seconds = take_turns(contestants, options.rounds)
        verdicts = bars(seconds, {f"ssl_bench, {MIXED}": 2.0}, f"an epoch at width {width}")
        parts.append(f"{table(seconds, f'step at width {width}', options.batch)}\n\n{verdicts}")
    return f"## An epoch of {options.images:,} images with its views, per step\n\n" + "\n\n".join(parts)


@torch.no_grad()
def accuracy(encoder: nn.Module, suite: Suite, queries: int) -> float:
    """5-NN in percent: test images among those that were trained on, by cosine."""
    data, plain = suite.data, suite.run.views.evaluation_input
    parts = data.split("fit")[data.fit_ids()], data.split("test")[torch.arange(min(queries, len(data.split("test"))))]
    bank, test = (torch.cat([encoder(plain(images)) for images in part.images.split(500)]) for part in parts)
    nearest = (nn.functional.normalize(test) @ nn.functional.normalize(bank).T).topk(K).indices
    labels = [part.labels.view(len(part.labels), -1)[:, 0] for part in parts]
    predicted = vote(labels[0][nearest].unsqueeze(2), len(data.targets[0].classes)).squeeze(1)
    return 100 * (predicted == labels[1]).double().mean().item()


def knn_part(flags: list[str], options: argparse.Namespace) -> str:
    """5-NN after the same short run by each, narrow, from the same initial weights."""
    make = partial(Suite, flags, options, options.narrow, options.trained)
    rows = []

    def score(name: str, encoder: nn.Module, suite: Suite, train: Callable[..., float] | None = None) -> None:
        start = time.perf_counter()
        if train is not None:
            train(epochs=options.epochs)
        seconds = time.perf_counter() - start
        rows.append(f"| {name} | {accuracy(encoder.eval(), suite, options.queries):.1f} | {seconds:.0f} |")

    exact, mixed = make(), make(mixed=True)
    score("nothing", exact.method.backbone, exact)
    if LIGHTLY:
        theirs = Lightly(exact)
        score("lightly", theirs.backbone, exact, partial(theirs.fit, pictures(exact, options.batch)))
    for name, suite in {"ssl_bench": exact, f"ssl_bench, {MIXED}": mixed}.items():
        score(name, suite.method.train().backbone, suite, suite.fit)
    lines = ["| training by | 5-NN, % | seconds |", "|---|---|---|", *rows]
    return (
        f"## {options.epochs} epochs on {options.trained:,} images, width {options.narrow}, one seed\n\n"
        f"Of {options.queries:,} test images, by cosine among those trained on.\n\n" + "\n".join(lines)
    )


def make_cache(folder: Path, data: DataModule, count: int) -> None:
    """A cache of 8 views of each of so many images; what they show does not matter to a clock."""
    images, order = data.split("fit"), data.fit_order()[:count]
    shards = Shards.create(folder, {"kind": "search", "data": of_fit(data, count), "settings": {}}, count)
    for shard in range(-(-count // SHARD_ROWS)):
        pixels = images[order[shards.rows(shard)]].images.cpu()
        shards.write(shard, {"views": pixels.unsqueeze(1).repeat(1, CACHED, 1, 1, 1)})


def cache_part(flags: list[str], options: argparse.Namespace) -> str:
    """Two expert views and one of a cache against three expert views: a step, and the views alone."""
    parts, worst = [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        for width in (options.width, options.narrow):
            three, cached = (Suite(flags, options, width, options.cached, mixed=True) for _ in range(2))
            data = three.data
            if width == options.width:
                make_cache(Path(folder), data, options.cached)
            facts = {"image_shape": data.image_shape, "mean": data.mean, "std": data.std}
            source = CachedViews(folder)
            three.method.views = Views("simclr_weak", 3, **facts)  # type: ignore[arg-type]
            cached.method.views = Views("simclr_weak", 2, generated=source, generated_recipe="flip", **facts)  # type: ignore[arg-type]
            names = ("three expert views", "two expert views and a cached one")
            contestants = {
                name: partial(suite.fit, batches=1 + options.steps * max(1, options.width // width))
                for name, suite in zip(names, (three, cached), strict=True)
            }
            seconds = take_turns(contestants, options.rounds)
            worst = max(worst, 1 / speed_up(seconds, names[1]))
            parts.append(table(seconds, f"step at width {width}", options.batch))
        source.open(data, torch.device("cpu"))
        making = {
            name: partial(views_alone, suite.method.views, data, options.batch)
            for name, suite in zip(names, (three, cached), strict=True)
        }
        parts.append(table(take_turns(making, options.rounds), "views alone", options.batch))
    return (
        f"## Views of a cache: {CACHED} views of each of {options.cached:,} images, read at random\n\n"
        + "\n\n".join(parts)
        + f"\n\n{verdict('a step with a cached view, the slower of both widths', worst, 1.1, at_most=True)}"
    )


def views_alone(views: Callable[[Tensor, Tensor], Tensor] | None, data: DataModule, batch: int) -> float:
    """Seconds of a batch's views."""
    assert views is not None
    images, ids = data.split("fit"), data.fit_ids()
    chosen = [images[ids[torch.randperm(len(ids))[:batch]]] for _ in range(10)]
    start = Clock().now()
    for one in chosen:
        views(one.images, one.ids)
    return (Clock().now() - start) / len(chosen)


PARTS = {"step": step_part, "epoch": epoch_part, "knn": knn_part, "cache": cache_part}


def parser() -> argparse.ArgumentParser:
    """The sizes; by default the published ones."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    made.add_argument("--data", default="cifar10")
    made.add_argument("--only", choices=PARTS, nargs="+", default=list(PARTS))
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--steps", type=int, default=2, help="timed in each round, after one that is not")
    made.add_argument("--batch", type=int, default=64, help="images of a step")
    made.add_argument("--width", type=int, default=64, help="of the ResNet-18")
    made.add_argument("--narrow", type=int, default=16, help="width of the short runs, and of steps that are quick")
    made.add_argument("--images", type=int, default=384, help="of a timed epoch")
    made.add_argument("--trained", type=int, default=3000, help="images of the short run")
    made.add_argument("--epochs", type=int, default=8, help="of the short run")
    made.add_argument("--queries", type=int, default=5000, help="test images of 5-NN")
    made.add_argument("--cached", type=int, default=10_000, help="images with cached views")
    made.add_argument("--write", action="store_true")
    return made


def main() -> None:
    """Time and print."""
    options, flags = parser().parse_known_args()
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    about = f"{machine()}; {options.rounds} rounds of contestants in turn."
    parts = [PARTS[part](flags, options) for part in options.only]
    text = "\n\n".join(["# SimCLR with expert and cached views", about, *parts])
    print(text)
    if options.write:
        write("views", text + "\n")


if __name__ == "__main__":
    main()
