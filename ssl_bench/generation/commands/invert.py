"""`ssl-bench views invert`: codes of the images of a data set."""

from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from ssl_bench.generation.code_optimization import optimize_codes, perceptual_weight
from ssl_bench.generation.commands.arguments import InvertCommand
from ssl_bench.generation.image_identity import identify_fit_images
from ssl_bench.generation.row_folder import autocast_dtype, fill, locked_folder, number_of_rows, to_uint8, use_precision
from ssl_bench.generation.trained_run import load_run, require_generator
from ssl_bench.methods.inversion import InDomainInversion


def invert_images(command: InvertCommand, device: torch.device) -> Path:
    """Make a folder with the code, the reconstruction and the errors of each training image.

    Codes are stored before truncation. With the run's truncation, they reproduce their images.

    Returns:
        The folder.
    """
    run, job = load_run(command.run, device, command.data.root), command.job
    method, data = require_generator(run.method, command.run), run.data
    fit, order = data.split("fit"), data.fit_order()
    count = number_of_rows(job, len(fit), f"the training images of {data.name}")
    truncation = method.truncation if isinstance(method, InDomainInversion) else 1.0
    settings = replace(command.settings, perceptual_weight=perceptual_weight(command.settings, method))
    key = {
        "kind": "invert",
        "data": identify_fit_images(data, count),
        "generator": run.weights_hash,
        "settings": {**asdict(settings), "truncation": truncation},
    }
    mean = method.mean_code()
    use_precision(job, method)

    def make(rows: Tensor) -> dict[str, Tensor]:
        images = run.views.to_image(run.views.evaluation_input(fit[order[rows]].images.to(device)))
        result = optimize_codes(method, images, settings, autocast=autocast_dtype(job))
        codes = mean + (result.codes - mean) / truncation
        return {"codes": codes, "images": to_uint8(result.images), **result.metrics}

    with locked_folder(job, key, run.data_name, count, lambda: {"generator": str(command.run.resolve())}) as shards:
        return fill(shards, device, job.batch_size, make)
