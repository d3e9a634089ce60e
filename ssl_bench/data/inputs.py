"""Properties of the data and views of a run, which the method checks before training."""

import torch

from ssl_bench.data.module import DataModule
from ssl_bench.data.types import TrainingInputs
from ssl_bench.data.views import Views
from ssl_bench.distributed import world_size


def training_inputs(data: DataModule, views: Views) -> TrainingInputs:
    """The inputs of a method's training step.

    Args:
        data: data module, after ``setup``.
        views: views of the images of `data`.
    """
    images = min(data.batch_size, len(data.fit_ids()) // world_size())
    black, white = (), ()
    if len(views.image_shape) == 3:
        ends = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, views.image_shape[0], 1, 1)
        black, white = map(tuple, views.from_image(ends).flatten(1).tolist())
    return TrainingInputs(
        images=images * views.num_views,
        processes=world_size(),
        views=views.num_views,
        generated=views.generated is not None,
        black=black,
        white=white,
    )
