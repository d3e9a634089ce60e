"""`ssl-bench views perturb`: a cache of W-perturb views."""

import sys
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from ssl_bench.data.shards import Shards
from ssl_bench.distributed import rank
from ssl_bench.generation.commands.arguments import PerturbCommand
from ssl_bench.generation.image_identity import identify_code_images
from ssl_bench.generation.row_folder import autocast_dtype, fill, locked_folder, number_of_rows, to_uint8, use_precision
from ssl_bench.generation.trained_run import load_generator
from ssl_bench.generation.w_perturb import noise, perturb


def perturb_codes(command: PerturbCommand, device: torch.device) -> Path:
    """Make a folder of W-perturb views: the generator's images at codes with added noise.

    Returns:
        The folder.
    """
    codes, job = Shards(command.codes).require_complete(f"the command that made {command.codes}"), command.job
    method = load_generator(codes, device)
    truncation: float = codes.key["settings"]["truncation"]
    if command.settings.truncation is not None:
        truncation = command.settings.truncation
    settings = replace(command.settings, truncation=truncation)
    if rank() == 0:
        print(f"perturb: standard deviation {truncation * settings.sigma:g} after truncation", file=sys.stderr)
    key = {
        "kind": "perturb",
        "data": identify_code_images(codes),
        "generator": codes.key["generator"],
        "settings": {**asdict(settings), "effective_sigma": truncation * settings.sigma},
    }
    count = number_of_rows(job, codes.count, command.codes)
    mean, autocast = method.mean_code(), autocast_dtype(job)
    use_precision(job, method)

    @torch.no_grad()
    def make(rows: Tensor) -> dict[str, Tensor]:
        start = codes.read("codes", rows).to(device).unsqueeze(1)
        sampled = noise(rows, settings.seed, settings.views, *start.shape[2:]).to(device)
        with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            images = method.synthesize(perturb(start, sampled, mean, settings.sigma, truncation).flatten(0, 1))
        return {"views": to_uint8(images).unflatten(0, (len(rows), settings.views))}

    with locked_folder(job, key, codes.notes["data"], count, lambda: {"codes": str(command.codes.resolve())}) as shards:
        return fill(shards, device, job.batch_size, make)
