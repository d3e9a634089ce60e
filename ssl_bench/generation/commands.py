"""The `ssl-bench views` commands: each makes a folder of rows, goes on where it was, and prints the folder."""

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ssl_bench.config.identity import names
from ssl_bench.data.shards import Shards
from ssl_bench.distributed import rank
from ssl_bench.errors import UserError
from ssl_bench.generation.information import measure_information
from ssl_bench.generation.inversion import Invert, invert
from ssl_bench.generation.job import Job, fill, to_uint8
from ssl_bench.generation.origin import as_generator, load_generator, of_codes, of_fit, open_run
from ssl_bench.generation.perturb import Perturb, noise, perturb, truncate
from ssl_bench.generation.search_command import search_views
from ssl_bench.generation.show import show
from ssl_bench.methods.inversion import InDomainInversion


@dataclass(frozen=True)
class Sample:
    """How images are drawn.

    Args:
        truncation: of codes towards the mean code, in (0, 1]; below 1 images are less diverse.
        seed: of the latents, each image's own.
    """

    truncation: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.truncation <= 1:
            raise UserError(f"sample: truncation {self.truncation}: give one in (0, 1]")


def invert_images(run: Path, job: Job, device: torch.device, settings: Invert) -> Path:
    """Codes of a data set's images, by optimisation from what an encoder says.

    Args:
        run: run folder of METHOD=inversion, whose data are inverted; one of stylegan2 starts from the mean code.
        job: see `Job`.
        device: where.
        settings: see `Invert`.
    """
    opened, config, weights = open_run(run, device)
    method, data = as_generator(opened.method, run), opened.data
    fit, order = data.split("fit"), data.fit_order()
    count = job.count(len(fit), f"the images of {data.name} that pretraining sees")
    truncation = method.truncation if isinstance(method, InDomainInversion) else 1.0
    settings = replace(settings, perceptual_weight=settings.perceptual_weight_of(method))
    shards = job.make(
        {
            "kind": "invert",
            "data": of_fit(data, count),
            "generator": weights,
            "settings": {**asdict(settings), "truncation": truncation},
        },
        names(config)[1],
        count,
        lambda: {"generator": str(run.resolve())},
    )
    mean = method.mean_code()
    job.lay_out(method)

    def make(rows: Tensor) -> dict[str, Tensor]:
        images = opened.views.to_image(opened.views.evaluation_input(fit[order[rows]].images.to(device)))
        found = invert(method, images, settings, autocast=job.autocast)
        # Codes that are the image once they are truncated, as the paper keeps them.
        codes = mean + (found.codes - mean) / truncation
        return {"codes": codes, "images": to_uint8(found.images), **found.figures}

    return fill(shards, device, job.batch_size, make)


def sample_images(run: Path, job: Job, device: torch.device, settings: Sample) -> Path:
    """Images drawn by a generator, with their codes: a data set, of which views can be made.

    Args:
        run: run folder of METHOD=stylegan2.
        job: see `Job`; --images says how many.
        device: where.
        settings: see `Sample`.
    """
    if job.images is None:
        raise UserError("sample: say by --images how many are wanted")
    opened, config, weights = open_run(run, device)
    method = as_generator(opened.method, run)
    if isinstance(method, InDomainInversion):
        raise UserError(f"{run} is a run of inversion: give the run of stylegan2 whose images are wanted")
    shards = job.make(
        {
            "kind": "sample",
            "data": {"order": "sampled"},
            "generator": weights,
            "settings": asdict(settings),
        },
        names(config)[1],
        job.images,
        lambda: {"generator": str(run.resolve())},
    )
    mean = method.mean_code()
    job.lay_out(method)

    @torch.no_grad()
    def make(rows: Tensor) -> dict[str, Tensor]:
        with torch.autocast(device.type, dtype=job.autocast, enabled=job.autocast is not None):
            codes = method.codes_of(noise(rows, settings.seed, method.latent_dim, use="latents").to(device)).float()
            images = method.synthesize(truncate(codes, mean, settings.truncation))
        return {"codes": codes, "images": to_uint8(images)}

    return fill(shards, device, job.batch_size, make)


def perturb_codes(codes: Path, job: Job, device: torch.device, settings: Perturb) -> Path:
    """W-perturb: views at codes with noise on them.

    Args:
        codes: folder that `views invert` or `views sample` has made.
        job: see `Job`.
        device: where.
        settings: see `Perturb`.
    """
    source = Shards(codes).require_complete(f"the command that made {codes}")
    method = load_generator(source, device)
    truncation: float = source.key["settings"]["truncation"] if settings.truncation is None else settings.truncation
    settings = replace(settings, truncation=truncation)
    if rank() == 0:
        print(f"perturb: standard deviation {truncation * settings.sigma:g} after truncation", file=sys.stderr)
    shards = job.make(
        {
            "kind": "perturb",
            "data": of_codes(source),
            "generator": source.key["generator"],
            "settings": {**asdict(settings), "effective_sigma": truncation * settings.sigma},
        },
        source.notes["data"],
        job.count(source.count, str(codes)),
        lambda: {"codes": str(codes.resolve())},
    )
    mean = method.mean_code()
    job.lay_out(method)

    @torch.no_grad()
    def make(rows: Tensor) -> dict[str, Tensor]:
        start = source.read("codes", rows).to(device).unsqueeze(1)
        drawn = noise(rows, settings.seed, settings.views, *start.shape[2:]).to(device)
        with torch.autocast(device.type, dtype=job.autocast, enabled=job.autocast is not None):
            images = method.synthesize(perturb(start, drawn, mean, settings.sigma, truncation).flatten(0, 1))
        return {"views": to_uint8(images).unflatten(0, (len(rows), settings.views))}

    return fill(shards, device, job.batch_size, make)


COMMANDS: dict[str, Callable[..., object]] = {
    "invert": invert_images,
    "search": search_views,
    "perturb": perturb_codes,
    "sample": sample_images,
    "show": show,
    "information": measure_information,
}
