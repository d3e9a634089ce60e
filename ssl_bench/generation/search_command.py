"""`ssl-bench views search`: W-search of a data set's codes, kept shard by shard."""

import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_bench.data.shards import Shards
from ssl_bench.data.views import Views
from ssl_bench.distributed import all_reduce_sum, barrier, share, stopping_together
from ssl_bench.errors import UserError
from ssl_bench.generation.job import Job, Progress, to_uint8
from ssl_bench.generation.origin import load_generator, of_codes, of_fit, open_run
from ssl_bench.generation.search import Anchors, Found, Search, search

EPS_IMAGES, EPS_MARGIN = 2048, 0.2
"""Anchors, at most, that eps1 is estimated from; and what eps2 is above it (paper, Table 9)."""


def search_views(
    codes: Path, encoder: Path, job: Job, device: torch.device, settings: Search, compile: bool = False
) -> Path:
    """W-search: views as far from an image as an encoder's own expert views are, and apart from one another.

    Args:
        codes: folder that `views invert` or `views sample` has made.
        encoder: run folder of a contrastive method, whose projections are compared and whose recipe is the expert's.
        job: see `Job`.
        device: where.
        settings: see `Search`.
        compile: generator, encoder and gradients through torch.compile: minutes at first, then faster.
    """
    source = Shards(codes).require_complete(f"the command that made {codes}")
    generator = load_generator(source, device)
    opened, _, weights = open_run(encoder, device)
    method: Any = opened.method
    if not hasattr(method, "project"):
        raise UserError(
            f"{encoder} is a run of {type(method).__name__}, which has no projections: give one of simclr or simsiam"
        )
    if opened.views.output_shape != generator.image_shape:
        raise UserError(
            f"{encoder} takes images of {opened.views.output_shape}, the generator of {codes} makes "
            f"{generator.image_shape}: give an encoder of that size"
        )
    origin, data = of_codes(source), opened.data
    if origin["order"] == "fit" and of_fit(data, origin["count"]) != origin:
        raise UserError(f"{codes} has codes of other images than those of {data.name} that {encoder} was trained on")
    fit, order, expert = data.split("fit"), data.fit_order(), opened.views
    expert.generated = None
    job.lay_out(generator, method)

    def originals(rows: Tensor) -> Tensor:
        return source.read("images", rows) if origin["order"] == "sampled" else fit[order[rows]].images

    def project(images: Tensor) -> Tensor:
        return F.normalize(method.project(expert.from_image(images)), dim=1)

    def resolve_distances() -> dict[str, Any]:
        eps1 = settings.eps1
        if eps1 is None:
            with torch.autocast(device.type, dtype=job.autocast, enabled=job.autocast is not None):
                eps1 = expert_distance(method, expert, originals, min(count, EPS_IMAGES), job.batch_size, device)
        eps2 = eps1 + EPS_MARGIN if settings.eps2 is None else settings.eps2
        if eps1**2 + settings.uniformity * eps2 <= settings.tolerance:  # the loss of views that are the anchor itself
            raise UserError(
                f"search: by eps1 {eps1:.3g} and uniformity {settings.uniformity:g} an anchor's own code is within "
                f"tolerance {settings.tolerance:g}, and no view would move: give a lower --tolerance or another --eps1"
            )
        return {"codes": str(codes.resolve()), "encoder": str(encoder.resolve()), "eps1": eps1, "eps2": eps2}

    count = job.count(source.count, str(codes))
    truncation: float = source.key["settings"]["truncation"] if settings.truncation is None else settings.truncation
    key = {
        "kind": "search",
        "data": origin,
        "generator": source.key["generator"],
        "encoder": weights,
        "settings": asdict(replace(settings, truncation=truncation)),
    }
    shards = job.make(key, source.notes["data"], count, resolve_distances)

    def anchors(shards_to_make: list[int]) -> Iterator[Anchors]:
        for shard in shards_to_make:
            for rows in shards.rows(shard).split(job.batch_size):
                images = source.read("images", rows)
                if settings.target == "image" and origin["order"] == "fit":
                    images = to_uint8(expert.to_image(expert.evaluation_input(originals(rows).to(device))))
                yield Anchors(rows, source.read("codes", rows), images)

    with stopping_together(shards.folder):
        mine = shards.assigned(device)
        refuse_not_finite(source, [row for shard in mine for row in shards.rows(shard).tolist()])
        found = search(
            generator.synthesize, project, generator.mean_code(), anchors(mine), settings,
            eps1=shards.notes["eps1"], eps2=shards.notes["eps2"], truncation=truncation,
            batch_size=job.batch_size, autocast=job.autocast, compile=compile,
        )  # fmt: skip
        collect(shards, found)
        barrier()
    return shards.folder


def refuse_not_finite(codes: Shards, rows: list[int]) -> None:
    """Refuse codes that no search can start from.

    Raises:
        UserError: with the first of these rows whose code is not finite.
    """
    for part in torch.tensor(rows, dtype=torch.int64).split(codes.shard_rows):
        finite = codes.read("codes", part).flatten(1).isfinite().all(1)
        if not finite.all():
            raise UserError(f"{codes.folder}: the code of image {int(part[~finite][0])} is not finite: make codes anew")


def collect(shards: Shards, found: Iterator[Found]) -> None:
    """Put what is found, in whatever order, into its shards, and write each once it is whole.

    Beside the figures of a search rows have ``seconds``, which add up to what the process took.
    """
    progress, last = Progress(shards), time.perf_counter()
    open_shards: dict[int, dict[str, Tensor]] = {}
    filled: dict[int, int] = {}
    for part in found:
        now = time.perf_counter()
        seconds = torch.full((len(part.ids),), (now - last) / len(part.ids))
        last = now
        tensors = {"views": part.views, **part.figures, "seconds": seconds}
        for shard in (part.ids // shards.shard_rows).unique().tolist():
            mine = part.ids // shards.shard_rows == shard
            rows, n = part.ids[mine] - shard * shards.shard_rows, len(shards.rows(shard))
            if shard not in open_shards:
                open_shards[shard] = {name: t.new_empty(n, *t.shape[1:]) for name, t in tensors.items()}
            for name, tensor in tensors.items():
                open_shards[shard][name][rows] = tensor[mine]
            filled[shard] = filled.get(shard, 0) + len(rows)
            if filled[shard] == n:
                shards.write(shard, open_shards.pop(shard))
        progress(len(part.ids))


@torch.no_grad()
def expert_distance(
    method: Any, expert: Views, originals: Any, count: int, batch_size: int, device: torch.device
) -> float:
    """Mean distance of the projections of expert views from those of their images, over the first `count` of them.

    Each batch has a seed of its own, so that it does not matter which process has it.
    """
    parts = torch.arange(count).split(batch_size)
    total = torch.zeros((), dtype=torch.float32, device=device)
    for number in share(len(parts)):
        images = originals(parts[number]).to(device)
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(number)
            views = expert(images)[0]
        pair = [F.normalize(method.project(x).float(), dim=1) for x in (expert.evaluation_input(images), views)]
        total += torch.linalg.vector_norm(pair[0] - pair[1], dim=1).sum()
    return float(all_reduce_sum(total)) / count
