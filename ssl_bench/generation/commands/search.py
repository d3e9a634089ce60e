"""`ssl-bench views search`: a cache of W-search views."""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_bench.data.shards import Shards
from ssl_bench.data.views import Views
from ssl_bench.distributed import all_reduce_sum, barrier, rank, share
from ssl_bench.errors import UserError
from ssl_bench.generation.commands.arguments import SearchCommand
from ssl_bench.generation.image_identity import identify_code_images, identify_fit_images
from ssl_bench.generation.memory import fitting
from ssl_bench.generation.row_folder import (
    Progress,
    autocast_dtype,
    locked_folder,
    number_of_rows,
    to_uint8,
    use_precision,
)
from ssl_bench.generation.trained_run import CodeGenerator, TrainedRun, load_generator, load_run, require_projections
from ssl_bench.generation.w_search import Anchors, SearchResult, search

EPS_IMAGES, EPS_MARGIN = 2048, 0.2
"""Maximum number of images that eps1 is estimated from; default of eps2 - eps1 (paper, Table 9)."""

Project = Callable[[Tensor], Tensor]
"""Images to projections ``(N, d)``."""


def search_views(command: SearchCommand, device: torch.device) -> Path:
    """Make a folder of W-search views.

    Returns:
        The folder.
    """
    codes, job, settings = Shards(command.codes), command.job, command.settings
    codes.require_complete(f"the command that made {command.codes}")
    generator = load_generator(codes, device)
    run = load_run(command.encoder, device, command.data.root)
    identity = identify_code_images(codes)
    method = require_projections(run.method, command.encoder)
    refuse_unsuitable_encoder(command, run, generator, identity)
    fit, order, expert = run.data.split("fit"), run.data.fit_order(), run.views
    expert.generated = None
    use_precision(job, generator, run.method)
    autocast = autocast_dtype(job)
    count = number_of_rows(job, codes.count, command.codes)

    def originals(rows: Tensor) -> Tensor:
        return codes.read("images", rows) if identity["order"] == "sampled" else fit[order[rows]].images

    def project(images: Tensor) -> Tensor:
        return F.normalize(method.project(expert.from_image(images)), dim=1)

    def resolve_distances() -> dict[str, Any]:
        eps1 = settings.eps1
        if eps1 is None:
            with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
                eps1 = expert_distance(
                    method.project, expert, originals, min(count, EPS_IMAGES), job.batch_size, device
                )
        eps2 = eps1 + EPS_MARGIN if settings.eps2 is None else settings.eps2
        if eps1**2 + settings.uniformity * eps2 <= settings.tolerance:  # the loss of views that equal the anchor
            raise UserError(
                f"search: with eps1 {eps1:.3g} and uniformity {settings.uniformity:g} the loss of an anchor's own code "
                f"is below tolerance {settings.tolerance:g}, and no view would move: give a lower --tolerance or "
                "another --eps1"
            )
        return {
            "codes": str(command.codes.resolve()),
            "encoder": str(command.encoder.resolve()),
            "eps1": eps1,
            "eps2": eps2,
        }

    truncation: float = codes.key["settings"]["truncation"] if settings.truncation is None else settings.truncation
    key = {
        "kind": "search",
        "data": identity,
        "generator": codes.key["generator"],
        "encoder": run.weights_hash,
        "settings": asdict(replace(settings, truncation=truncation)),
    }

    def anchors(shards: Shards, shards_to_make: list[int]) -> Iterator[Anchors]:
        for shard in shards_to_make:
            for rows in shards.rows(shard).split(job.batch_size):
                images = codes.read("images", rows)
                if settings.target == "image" and identity["order"] == "fit":
                    images = to_uint8(expert.to_image(expert.evaluation_input(originals(rows).to(device))))
                yield Anchors(rows, codes.read("codes", rows), images)

    with locked_folder(job, key, codes.notes["data"], count, resolve_distances) as shards:
        mine = shards.assigned(device)
        refuse_non_finite_codes(codes, [row for shard in mine for row in shards.rows(shard).tolist()])
        searched = partial(
            search, generator.synthesize, project, generator.mean_code(),
            eps1=shards.notes["eps1"], eps2=shards.notes["eps2"], truncation=truncation, autocast=autocast,
        )  # fmt: skip

        def step(n: int) -> None:
            few = Anchors(*(tensor[:n] for tensor in next(anchors(shards, mine))))
            next(searched(anchors=iter([few]), settings=replace(settings, steps=0), batch_size=n))

        if mine:
            number, sentence = fitting(step, job.batch_size, device)
            if rank() == 0:
                print(f"search: {sentence}", file=sys.stderr)
            write_results(
                shards,
                searched(anchors=anchors(shards, mine), settings=settings, batch_size=number, compile=command.compile),
            )
        barrier()
    return shards.folder


def refuse_unsuitable_encoder(
    command: SearchCommand, run: TrainedRun, generator: CodeGenerator, identity: dict[str, Any]
) -> None:
    """Check that an encoder is suitable for a generator and its codes.

    Raises:
        UserError: the encoder takes images of another size, or was trained on other images.
    """
    if run.views.output_shape != generator.image_shape:
        raise UserError(
            f"{command.encoder} takes images of {run.views.output_shape}, the generator of {command.codes} makes "
            f"{generator.image_shape}: give an encoder of that size"
        )
    if identity["order"] == "fit" and identify_fit_images(run.data, identity["count"]) != identity:
        raise UserError(
            f"{command.codes} has codes of other images than those of {run.data.name} that {command.encoder} was "
            "trained on: give an encoder trained on these"
        )


def refuse_non_finite_codes(codes: Shards, rows: list[int]) -> None:
    """Check that the codes of these rows are finite.

    Raises:
        UserError: a code is not finite; the message contains its row.
    """
    for part in torch.tensor(rows, dtype=torch.int64).split(codes.shard_rows):
        finite = codes.read("codes", part).flatten(1).isfinite().all(1)
        if not finite.all():
            raise UserError(f"{codes.folder}: the code of image {int(part[~finite][0])} is not finite: make codes anew")


def write_results(shards: Shards, results: Iterator[SearchResult]) -> None:
    """Sort results, which arrive in any order, into their shards, and write each shard when it is complete.

    Besides the views, each row has the metrics of the search and ``seconds``. The sum of ``seconds`` over the rows is
    the wall time of the process.
    """
    progress, last = Progress(shards), time.perf_counter()
    open_shards: dict[int, dict[str, Tensor]] = {}
    filled: dict[int, int] = {}
    for result in results:
        now = time.perf_counter()
        seconds = torch.full((len(result.ids),), (now - last) / len(result.ids))
        last = now
        tensors = {"views": result.views, **result.metrics, "seconds": seconds}
        for shard in (result.ids // shards.shard_rows).unique().tolist():
            in_shard = result.ids // shards.shard_rows == shard
            rows, n = result.ids[in_shard] - shard * shards.shard_rows, len(shards.rows(shard))
            if shard not in open_shards:
                open_shards[shard] = {name: t.new_empty(n, *t.shape[1:]) for name, t in tensors.items()}
            for name, tensor in tensors.items():
                open_shards[shard][name][rows] = tensor[in_shard]
            filled[shard] = filled.get(shard, 0) + len(rows)
            if filled[shard] == n:
                shards.write(shard, open_shards.pop(shard))
        progress(len(result.ids))


@torch.no_grad()
def expert_distance(
    project: Project,
    expert: Views,
    originals: Callable[[Tensor], Tensor],
    count: int,
    batch_size: int,
    device: torch.device,
) -> float:
    """Return the mean distance between the projections of images and of their expert views.

    Each batch has its own seed, so that the result does not depend on the number of processes.

    Args:
        project: maps normalised images ``(N, C, H, W)`` to projections ``(N, d)``.
        expert: makes the expert views.
        originals: given row numbers int64 ``(n,)``, returns images ``(n, C, H, W)``.
        count: number of images; the first `count` images are used.
        batch_size: number of images that are projected at a time.
        device: device of the projections.
    """
    parts = torch.arange(count).split(batch_size)
    total = torch.zeros((), dtype=torch.float32, device=device)
    for number in share(len(parts)):
        images = originals(parts[number]).to(device)
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(number)
            views = expert(images)[0]
        pair = [F.normalize(project(x).float(), dim=1) for x in (expert.evaluation_input(images), views)]
        total += torch.linalg.vector_norm(pair[0] - pair[1], dim=1).sum()
    return float(all_reduce_sum(total)) / count
