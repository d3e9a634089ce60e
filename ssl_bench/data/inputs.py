"""Checks of data and views before training, which every method attaches to its trainer."""

from typing import Any

import torch
from lightning import Callback, LightningModule

from ssl_bench.data.module import DataModule
from ssl_bench.data.types import TrainingInputs
from ssl_bench.data.views import Views
from ssl_bench.distributed import world_size


def training_inputs(data: DataModule, views: Views) -> TrainingInputs:
    """The inputs of a method's training step.

    Args:
        data: data module, after ``setup``.
        views: views of the images of `data`.

    Raises:
        UserError: a batch of all processes is larger than the data set.
    """
    sampler = data.sampler()
    black, white = (), ()
    if len(views.image_shape) == 3:
        ends = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, views.image_shape[0], 1, 1)
        black, white = map(tuple, views.from_image(ends).flatten(1).tolist())
    return TrainingInputs(
        images=sampler.batch_size * views.num_views,
        last_images=(sampler.last or sampler.batch_size) * views.num_views,
        processes=world_size(),
        views=views.num_views,
        generated=views.generated is not None,
        black=black,
        white=white,
        local_views=views.num_local_views,
    )


class CheckInputs(Callback):
    """Attach the source of generated views to the method, then run the method's checks of its inputs.

    `Method.configure_callbacks` returns it, so that the checks run under any Trainer. Views and data of other classes
    than `Views` and `DataModule` are not checked.
    """

    def on_fit_start(self, trainer: Any, pl_module: LightningModule) -> None:
        """Run the checks; the data are set up and the method is on its device.

        Raises:
            UserError: the data, the views or their source do not suit the method.
        """
        method: Any = pl_module
        data = getattr(trainer, "datamodule", None)
        if isinstance(data, DataModule) and isinstance(method.views, Views):
            method.views.attach(method, data)
            method.inputs = training_inputs(data, method.views)
            method.check_inputs(method.inputs)
