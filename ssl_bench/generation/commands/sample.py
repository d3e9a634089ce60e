"""`ssl-bench views sample`: images sampled from a generator, with their codes."""

from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from ssl_bench.errors import UserError
from ssl_bench.generation.commands.arguments import SampleCommand
from ssl_bench.generation.row_folder import autocast_dtype, fill, locked_folder, to_uint8, use_precision
from ssl_bench.generation.trained_run import load_run, require_generator
from ssl_bench.generation.w_perturb import noise, truncate
from ssl_bench.methods.inversion import InDomainInversion


def sample_images(command: SampleCommand, device: torch.device) -> Path:
    """Make a folder of samples and their codes, before truncation.

    Returns:
        The folder.
    """
    run, job, settings = load_run(command.run, device, command.data.root), command.job, command.settings
    method = require_generator(run.method, command.run)
    if isinstance(method, InDomainInversion):
        raise UserError(f"{command.run} is a run of inversion: give the stylegan2 run of its generator")
    assert job.images is not None, "SampleCommand requires it"
    key = {
        "kind": "sample",
        "data": {"order": "sampled"},
        "generator": run.weights_hash,
        "settings": asdict(settings),
    }
    mean, autocast = method.mean_code(), autocast_dtype(job)
    use_precision(job, method)

    @torch.no_grad()
    def make(rows: Tensor) -> dict[str, Tensor]:
        with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            codes = method.codes_of(noise(rows, settings.seed, method.latent_dim, use="latents").to(device)).float()
            images = method.synthesize(truncate(codes, mean, settings.truncation))
        return {"codes": codes, "images": to_uint8(images)}

    with locked_folder(
        job, key, run.data_name, job.images, lambda: {"generator": str(command.run.resolve())}
    ) as shards:
        return fill(shards, device, job.batch_size, make)
