"""Images of a run, real and generated, for the protocols that compare images and not features."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from ssl_bench.config.identity import data_hash, names
from ssl_bench.config.schema import Run
from ssl_bench.data.types import Batch, Split
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.features import SPLITS, Features, FeatureSplit
from ssl_bench.methods.base import Generative

BATCH_SIZE = 256


def images_of_run(run: Run, config: dict[str, Any], folder: Path, device: torch.device) -> EvaluatedEncoder:
    """What the protocols that look at images, real and generated ones, need of a run; features are of no width.

    Args:
        run: the objects; the data are set up.
        config: the resolved configuration that the run folder is of.
        folder: the run folder.
        device: where the images are wanted. The method is where it is and in the mode that it is in.
    """
    method, data = run.method, run.data

    def images(split: Split) -> Iterator[Batch]:
        for batch in data.batches(split, BATCH_SIZE, shared=True):
            pictures = run.views.to_image(run.views.evaluation_input(batch.images.to(device, non_blocking=True)))
            yield Batch(pictures, batch.labels.to(device), batch.ids.to(device))

    @torch.no_grad()  # and no inference mode, whose tensors training could not go on with
    def sample(n: int, generator: Generator) -> Tensor:
        assert isinstance(method, Generative)
        return method.sample(n, generator).float().to(device)

    none = {split: FeatureSplit(torch.empty(len(data.labels(split)), 0), data.labels(split)) for split in SPLITS}
    return EvaluatedEncoder(
        Features(**none, targets=data.targets),
        device,
        folder,
        data="-".join([names(config)[1], "x".join(map(str, run.views.output_shape)), data_hash(config)]),
        images=images,
        image_shape=run.views.output_shape,
        sample=sample if isinstance(method, Generative) else None,
    )


def scoring_device(device: torch.device) -> torch.device:
    """Where to score what is on that device: there, or on the CPU where the device has no float64."""
    return device if device.type == "cuda" else torch.device("cpu")
