"""Real images and samples of a run, for the protocols that compare images."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from ssl_bench.config.identity import data_hash, names
from ssl_bench.config.schema import Run
from ssl_bench.data.fingerprint import fingerprint
from ssl_bench.data.types import Batch, Split
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.features import SPLITS, Features, FeatureSplit
from ssl_bench.methods.base import Generative

BATCH_SIZE = 256


def images_of_run(run: Run, config: dict[str, Any], folder: Path, device: torch.device) -> EvaluatedEncoder:
    """The run's images and, if its method is generative, its samples. Features are empty, ``(N, 0)``.

    Args:
        run: method, data and views; the data must be set up.
        config: resolved configuration of the run folder.
        folder: the run folder.
        device: device of the returned images. Device and mode of the method are not changed.
    """
    method, data = run.method, run.data

    def images(split: Split) -> Iterator[Batch]:
        for batch in data.batches(split, BATCH_SIZE, shared=True):
            pictures = run.views.to_image(run.views.evaluation_input(batch.images.to(device, non_blocking=True)))
            yield Batch(pictures, batch.labels.to(device), batch.ids.to(device))

    @torch.no_grad()  # not inference_mode, whose tensors cannot be used in training
    def sample(n: int, generator: Generator) -> Tensor:
        assert isinstance(method, Generative)
        return method.sample(n, generator).float().to(device)

    shape = "x".join(map(str, run.views.output_shape))
    none = {split: FeatureSplit(torch.empty(len(data.labels(split)), 0), data.labels(split)) for split in SPLITS}
    return EvaluatedEncoder(
        Features(**none, targets=data.targets),
        device,
        folder,
        data="-".join([names(config)[1], shape, data_hash(config), fingerprint(data).digest]),
        images=images,
        image_shape=run.views.output_shape,
        sample=sample if isinstance(method, Generative) else None,
    )


def scoring_device(device: torch.device) -> torch.device:
    """Device for the protocols: the given one if it is a GPU with float64, else the CPU."""
    return device if device.type == "cuda" else torch.device("cpu")
